// Publishes one event: `RABBITMQ_URL=amqp://… dotnet run event.json`. Take `Publisher` along.
using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using RabbitMQ.Client;

var factory = new ConnectionFactory
{
    Uri = new Uri(Environment.GetEnvironmentVariable("RABBITMQ_URL") ?? "amqp://localhost"),
    ClientProvidedName = "cms/publish",
};
await using var connection = await factory.CreateConnectionAsync();
// With both, BasicPublishAsync returns when the broker has confirmed, and throws where it refused or returned.
await using var channel = await connection.CreateChannelAsync(new CreateChannelOptions(
    publisherConfirmationsEnabled: true, publisherConfirmationTrackingEnabled: true));

var publisher = new Publisher(channel, Environment.GetEnvironmentVariable("NOTIFY_EXCHANGE") ?? "notify.events");
await publisher.PublishAsync(JsonNode.Parse(await File.ReadAllTextAsync(args[0]))!.AsObject());

public sealed class Publisher(IChannel channel, string exchange)
{
    /// <summary>Returns when a queue has the event on disk; throws PublishException where none does.</summary>
    public async Task PublishAsync(JsonObject cloudEvent, CancellationToken cancellation = default)
    {
        var properties = new BasicProperties
        {
            ContentType = "application/cloudevents+json",
            MessageId = Text(cloudEvent["id"]),
            Persistent = true, // survives a restart of the broker
            Headers = new Dictionary<string, object?> { ["traceparent"] = TraceParent() },
        };
        // mandatory: comes back where no queue takes it; only a broker without the alternate exchange does that.
        await channel.BasicPublishAsync(exchange, RoutingKey(cloudEvent), mandatory: true, properties,
            Encoding.UTF8.GetBytes(cloudEvent.ToJsonString()), cancellation);
    }

    public static string RoutingKey(JsonObject cloudEvent)
    {
        var data = cloudEvent["data"]!;
        var project = (string?)data["resource"]?["projectId"] ?? "none";
        string[] parts = Text(cloudEvent["type"]) switch
        {
            "com.contensis.entry.workflowEventRaised.v1" =>
                ["workflow", project, Text(data["workflow"]!["id"]), Text(data["workflow"]!["state"]),
                 Text(data["workflow"]!["transition"]!["event"])],
            "com.contensis.formResponse.created.v1" => ["form", project, Text(data["form"]!["id"])],
            "com.contensis.user.passwordReset.v1" => ["password-reset", Text(data["reset"]!["action"])],
            "com.contensis.system.message.v1" =>
                ["system", (string?)data["message"]!["severity"] ?? "info", Text(data["message"]!["code"])],
            var unknown => throw new ArgumentException($"no type of the contract: {unknown}"),
        };
        return string.Join('.', parts);
    }

    private static string Text(JsonNode? node) => node!.GetValue<string>();

    // What runs within an Activity, as in ASP.NET Core with OpenTelemetry, continues its trace.
    private static string TraceParent() => Activity.Current?.Id
        ?? $"00-{ActivityTraceId.CreateRandom()}-{ActivitySpanId.CreateRandom()}-01";
}
