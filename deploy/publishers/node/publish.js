// Publishes one event: `RABBITMQ_URL=amqp://… node publish.js event.json`. Take `publisher` and `routingKey` along.
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import amqp from "amqplib";

const { RABBITMQ_URL = "amqp://localhost", NOTIFY_EXCHANGE = "notify.events", TRACEPARENT } = process.env;

const KEYS = {
  "com.contensis.entry.workflowEventRaised.v1": ({ resource, workflow }) => [
    "workflow", resource.projectId ?? "none", workflow.id, workflow.state, workflow.transition.event,
  ],
  "com.contensis.formResponse.created.v1": ({ resource, form }) => ["form", resource.projectId ?? "none", form.id],
  "com.contensis.user.passwordReset.v1": ({ reset }) => ["password-reset", reset.action],
  "com.contensis.system.message.v1": ({ message }) => ["system", message.severity ?? "info", message.code],
};

export const routingKey = (event) => KEYS[event.type](event.data).join(".");

// A function that publishes an event, and resolves when a queue has it on disk; many may be under way at a time.
export function publisher(confirmChannel) {
  const returned = new Set(); // the broker returns a message before it confirms it
  confirmChannel.on("return", ({ properties }) => returned.add(properties.messageId));
  return (event, headers) =>
    new Promise((resolve, reject) => {
      const properties = {
        contentType: "application/cloudevents+json",
        messageId: event.id,
        persistent: true, // survives a restart of the broker
        mandatory: true, // returned where no queue takes it: only by a broker without the alternate exchange
        headers,
      };
      const body = Buffer.from(JSON.stringify(event));
      confirmChannel.publish(NOTIFY_EXCHANGE, routingKey(event), body, properties, (error) => {
        if (error) reject(error);
        else if (returned.delete(event.id)) reject(new Error("no queue took the event"));
        else resolve();
      });
    });
}

// With OpenTelemetry instead: `propagation.inject(context.active(), headers)`.
const newTrace = () => `00-${randomBytes(16).toString("hex")}-${randomBytes(8).toString("hex")}-01`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const event = JSON.parse(await readFile(process.argv[2], "utf8"));
  const connection = await amqp.connect(RABBITMQ_URL, { clientProperties: { connection_name: "cms/publish" } });
  const channel = await connection.createConfirmChannel();
  channel.on("error", (error) => console.error(error.message)); // such as a missing exchange or permission
  await publisher(channel)(event, { traceparent: TRACEPARENT ?? newTrace() });
  await connection.close();
}
