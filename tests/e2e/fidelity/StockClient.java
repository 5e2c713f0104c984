import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.HexFormat;
import java.util.Optional;
import java.util.stream.IntStream;
import java.io.ByteArrayInputStream;

/**
 * The JDK's own HTTP client, as it comes: it offers h2c with an Upgrade on every request until a server takes it.
 *
 * <p>{@code java StockClient.java URL} sends every kind of body to {@code echo} at that address, over one client with
 * the defaults and one that is set to HTTP/1.1, and prints a line for each answer.
 */
public final class StockClient {
    private static final int TIMES = 50;
    private static final Duration PATIENCE = Duration.ofSeconds(20);

    private StockClient() {}

    public static void main(String[] arguments) throws Exception {
        URI infer = URI.create(arguments[0] + "/v2/models/echo/infer");
        HttpClient stock = HttpClient.newHttpClient();
        HttpClient plain = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        for (int number = 0; number < TIMES; number++) {
            say("stock json", stock, json(infer, number, false));
            say("stock binary", stock, binary(infer, number));
            say("stock chunks", stock, json(infer, number, true));
            say("plain json", plain, json(infer, number, false));
            say("plain binary", plain, binary(infer, number));
            say("plain chunks", plain, json(infer, number, true));
        }
        say("stock metadata", stock, HttpRequest.newBuilder(URI.create(arguments[0] + "/v2/models/echo")).build());
        say("stock malformed", stock, post(infer, BodyPublishers.ofString("{")).build());
        say("stock expects", stock, json(infer, TIMES, false, true));
        var waiting = IntStream.range(0, TIMES)
            .mapToObj(number -> stock.sendAsync(json(infer, number, false), BodyHandlers.ofByteArray()))
            .toList();
        for (var answer : waiting) {
            say("stock at once", answer.get());
        }
    }

    private static HttpRequest.Builder post(URI where, BodyPublisher body) {
        return HttpRequest.newBuilder(where).timeout(PATIENCE).POST(body);
    }

    private static HttpRequest json(URI where, int number, boolean inChunks) {
        return json(where, number, inChunks, false);
    }

    private static HttpRequest json(URI where, int number, boolean inChunks, boolean expects) {
        String body = """
            {"id": "%d", "inputs": [{"name": "int32", "datatype": "INT32", "shape": [1], "data": [%d]}]}"""
            .formatted(number, number);
        BodyPublisher publisher = inChunks
            ? BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body.getBytes()))
            : BodyPublishers.ofString(body);
        return post(where, publisher).header("Content-Type", "application/json").expectContinue(expects).build();
    }

    private static HttpRequest binary(URI where, int number) {
        byte[] json = """
            {"inputs": [{"name": "int32", "datatype": "INT32", "shape": [1], "parameters": {"binary_data_size": 4}}],
             "outputs": [{"name": "int32", "parameters": {"binary_data": true}}]}""".getBytes();
        byte[] tensor = ByteBuffer.allocate(Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN).putInt(number).array();
        return post(where, BodyPublishers.ofByteArrays(java.util.List.of(json, tensor)))
            .header("Content-Type", "application/octet-stream")
            .header("Inference-Header-Content-Length", String.valueOf(json.length))
            .build();
    }

    private static void say(String what, HttpClient client, HttpRequest request) throws Exception {
        say(what, client.send(request, BodyHandlers.ofByteArray()));
    }

    private static void say(String what, HttpResponse<byte[]> answer) {
        Optional<String> type = answer.headers().firstValue("content-type");
        String body = HexFormat.of().formatHex(answer.body());
        System.out.printf("%s %s %d %s %s%n", what, answer.version(), answer.statusCode(), type.orElse("-"), body);
    }
}
