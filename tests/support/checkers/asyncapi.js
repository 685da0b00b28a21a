// What AsyncAPI's own parser has to say about the document in the file named by the first argument, as JSON.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
console.log(
  JSON.stringify({
    valid: document !== undefined,
    channels: document?.channels().all().map((channel) => channel.address()) ?? [],
    complaints: diagnostics.map(({ code, message, path, severity }) => ({ code, message, path: path.join("."), severity })),
  }),
);
