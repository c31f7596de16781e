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

/** How the tests talk with a client: a line of calls to begin at once, and a line an answer, over standard input and output. */
final class Wire {
  /** @param cancel ends the call. Its answer is due all the same. */
  record Asking(CompletableFuture<JsonObject> answer, Runnable cancel) {}

  interface Client {
    /** Begins a call. The answer must not fail. */
    Asking ask(JsonObject call);
  }

  /** Begins each call as it comes, and returns when standard input has ended and every call has its answer. */
  static void serve(Client client) throws IOException {
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
        Asking asking = client.ask(call);
        cancels.put(id, asking.cancel());
        answers.add(
            asking.answer().thenAccept(answer -> {
              answer.addProperty("id", id);
              output.println(answer);
            }));
      }
    }
    CompletableFuture.allOf(answers.toArray(CompletableFuture[]::new)).join();
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

  /** A call that brought no answer. */
  static JsonObject failed(Throwable cause) {
    var answer = new JsonObject();
    answer.addProperty("failed", cause.toString());
    return answer;
  }

  private Wire() {}
}
