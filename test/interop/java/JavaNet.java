import com.google.gson.JsonObject;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.concurrent.CompletableFuture;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;

/**
 * Calls the service over REST by the JDK's own client. By default it prefers HTTP/2: without TLS it requests an upgrade to
 * h2c over HTTP/1.1. With `--http1` it does not.
 */
final class JavaNet {
  public static void main(String[] args) throws Exception {
    Options options = Options.of(args);
    var builder = HttpClient.newBuilder();
    if (options.has("http1")) builder.version(HttpClient.Version.HTTP_1_1);
    if (options.has("ca")) {
      SSLContext context = SSLContext.getInstance("TLS");
      context.init(null, new TrustManager[] {options.trustManager()}, null);
      builder.sslContext(context);
    }
    HttpClient client = builder.build();
    Wire.serve(
        call -> {
          String id = call.get("reqId").getAsString().replace(" ", "%20");
          URI uri = URI.create(options.get("target") + "/get_status/" + id);
          CompletableFuture<HttpResponse<String>> running =
              client.sendAsync(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString());
          CompletableFuture<JsonObject> answer =
              running.handle((response, error) -> error == null ? rest(response) : Wire.failed(error));
          return new Wire.Running(answer, () -> running.cancel(true));
        });
    // The client's threads are not daemons.
    System.exit(0);
  }

  private static JsonObject rest(HttpResponse<String> response) {
    String version = response.version() == HttpClient.Version.HTTP_1_1 ? "HTTP/1.1" : "HTTP/2";
    String reason = response.headers().firstValue("Error-Reason").orElse(null);
    return Wire.rest(response.statusCode(), version, reason, response.body());
  }

  private JavaNet() {}
}
