import com.google.gson.JsonObject;
import java.io.IOException;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import okhttp3.Call;
import okhttp3.Callback;
import okhttp3.OkHttpClient;
import okhttp3.Protocol;
import okhttp3.Request;
import okhttp3.Response;

/** Calls the service over REST by OkHttp: with `--http2` by prior knowledge, with `--ca` by the protocol that TLS negotiates. */
final class OkHttp {
  public static void main(String[] args) throws Exception {
    Options options = Options.of(args);
    var builder = new OkHttpClient.Builder();
    if (options.has("ca")) {
      var trust = options.trustManager();
      SSLContext context = SSLContext.getInstance("TLS");
      context.init(null, new TrustManager[] {trust}, null);
      builder.sslSocketFactory(context.getSocketFactory(), trust);
    } else {
      builder.protocols(List.of(options.has("http2") ? Protocol.H2_PRIOR_KNOWLEDGE : Protocol.HTTP_1_1));
    }
    OkHttpClient client = builder.build();
    // By default, OkHttp makes five concurrent calls to a host.
    client.dispatcher().setMaxRequests(1_000);
    client.dispatcher().setMaxRequestsPerHost(1_000);
    Wire.serve(
        call -> {
          String url = options.get("target") + "/get_status/" + call.get("reqId").getAsString();
          Call running = client.newCall(new Request.Builder().url(url).build());
          var answer = new CompletableFuture<JsonObject>();
          running.enqueue(
              new Callback() {
                @Override
                public void onResponse(Call call, Response response) {
                  try (response) {
                    String version = response.protocol() == Protocol.HTTP_1_1 ? "HTTP/1.1" : "HTTP/2";
                    String reason = response.header("Error-Reason");
                    answer.complete(Wire.rest(response.code(), version, reason, response.body().string()));
                  } catch (IOException error) {
                    answer.complete(Wire.failed(error));
                  }
                }

                @Override
                public void onFailure(Call call, IOException error) {
                  answer.complete(Wire.failed(error));
                }
              });
          return new Wire.Running(answer, running::cancel);
        });
    client.dispatcher().executorService().shutdown();
    client.connectionPool().evictAll();
  }

  private OkHttp() {}
}
