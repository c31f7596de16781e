import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

/**
 * The protocol of tests and client: lines of concurrent calls on standard input, and a line for each answer, and for each event
 * of a stream, on standard output.
 */
final class Wire {
  /** A running call. @param cancel cancels the call. It must still have an answer. */
  record Running(CompletableFuture<JsonObject> answer, Runnable cancel) {}

  interface Client {
    /** Starts a call. The answer must not complete exceptionally. */
    Running start(JsonObject call);
  }

  interface StreamingClient {
    /** As {@link Client#start}. @param report takes the events of a stream. */
    Running start(JsonObject call, Consumer<JsonObject> report);
  }

  /** Starts each call as it arrives, and returns when standard input has ended and every call has its answer. */
  static void serve(Client client) throws IOException {
    serve((call, report) -> client.start(call));
  }

  /** The same for a client that has streams. */
  static void serve(StreamingClient client) throws IOException {
    var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var output = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    Map<Integer, Runnable> cancels = new HashMap<>();
    List<CompletableFuture<Void>> answers = new ArrayList<>();
    for (String line; (line = input.readLine()) != null; ) {
      for (JsonElement element : JsonParser.parseString(line).getAsJsonArray()) {
        JsonObject call = element.getAsJsonObject();
        int id = call.get("id").getAsInt();
        if (call.has("cancel")) {
          cancels.get(id).run();
          continue;
        }
        Running running = client.start(call, event -> output.println(lineOf(id, event)));
        cancels.put(id, running.cancel());
        answers.add(
            running.answer().thenAccept(answer -> {
              answer.addProperty("id", id);
              output.println(answer);
            }));
      }
    }
    CompletableFuture.allOf(answers.toArray(CompletableFuture[]::new)).join();
  }

  private static JsonObject lineOf(int id, JsonObject event) {
    var line = new JsonObject();
    line.addProperty("id", id);
    line.add("event", event);
    return line;
  }

  /**
   * An answer of REST.
   *
   * @param version of HTTP that it came by, such as `HTTP/2`.
   * @param reason the header `Error-Reason`, or null.
   */
  static JsonObject rest(int status, String version, String reason, String body) {
    var rest = new JsonObject();
    rest.addProperty("status", status);
    rest.addProperty("version", version);
    if (reason != null) rest.addProperty("reason", reason);
    rest.addProperty("body", body);
    var answer = new JsonObject();
    answer.add("rest", rest);
    return answer;
  }

  /** A call without an answer. */
  static JsonObject failed(Throwable cause) {
    var answer = new JsonObject();
    answer.addProperty("failed", cause.toString());
    return answer;
  }

  private Wire() {}
}
