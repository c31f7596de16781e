import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.reflect.TypeToken;
import com.google.protobuf.DescriptorProtos.FileDescriptorProto;
import com.google.protobuf.DescriptorProtos.FileDescriptorSet;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.DynamicMessage;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.TypeRegistry;
import com.google.protobuf.util.Durations;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/**
 * Calls the service by grpc-java over Netty, over one channel. The proto's messages are read from `--descriptors`, a
 * FileDescriptorSet.
 */
final class GrpcJava {
  private static final String PACKAGE = "gomemory.status.v1.";
  private static final Metadata.Key<String> REQUEST_ID =
      Metadata.Key.of("x-request-id", Metadata.ASCII_STRING_MARSHALLER);
  private static final JsonFormat.Printer JSON =
      JsonFormat.printer().usingTypeRegistry(
          TypeRegistry.newBuilder()
              .add(ErrorInfo.getDescriptor())
              .add(BadRequest.getDescriptor())
              .add(RetryInfo.getDescriptor())
              .build());

  public static void main(String[] args) throws Exception {
    Options options = Options.of(args);
    var builder = NettyChannelBuilder.forTarget(options.get("target"));
    if (options.has("ca")) {
      builder.sslContext(GrpcSslContexts.forClient().trustManager(new File(options.get("ca"))).build());
    } else {
      builder.usePlaintext();
    }
    if (options.has("ping")) {
      builder.keepAliveTime(Long.parseLong(options.get("ping")), TimeUnit.MILLISECONDS).keepAliveWithoutCalls(true);
    }
    if (options.has("service-config")) {
      String json = Files.readString(Path.of(options.get("service-config")));
      Map<String, ?> config = new Gson().fromJson(json, new TypeToken<Map<String, ?>>() {}.getType());
      builder.defaultServiceConfig(config).enableRetry();
    }
    ManagedChannel channel = builder.build();
    Map<String, Descriptor> messages = readMessages(Path.of(options.get("descriptors")));
    var getStatus = method("GetStatus", MethodDescriptor.MethodType.UNARY, messages);
    var batchGetStatus = method("BatchGetStatus", MethodDescriptor.MethodType.UNARY, messages);
    var watchStatus = method("WatchStatus", MethodDescriptor.MethodType.SERVER_STREAMING, messages);

    Wire.serve(
        (call, report) -> {
          String name = call.has("method") ? call.get("method").getAsString() : "GetStatus";
          var method =
              switch (name) {
                case "WatchStatus" -> watchStatus;
                case "BatchGetStatus" -> batchGetStatus;
                default -> getStatus;
              };
          var callOptions = CallOptions.DEFAULT.withWaitForReady();
          if (options.has("gzip")) callOptions = callOptions.withCompression("gzip");
          if (call.has("timeoutMs")) {
            callOptions = callOptions.withDeadlineAfter(call.get("timeoutMs").getAsLong(), TimeUnit.MILLISECONDS);
          }
          var metadata = new Metadata();
          if (call.has("requestId")) metadata.put(REQUEST_ID, call.get("requestId").getAsString());
          ClientCall<DynamicMessage, DynamicMessage> running =
              MetadataUtils.newAttachHeadersInterceptor(metadata).interceptCall(method, callOptions, channel);
          var request = request(messages.get(PACKAGE + name + "Request"), call);
          var answer = new CompletableFuture<JsonObject>();
          if (method == watchStatus) {
            ClientCalls.asyncServerStreamingCall(running, request, observer(answer, report));
          } else {
            ClientCalls.asyncUnaryCall(running, request, observer(answer, null));
          }
          return new Wire.Running(answer, () -> running.cancel("by the test", null));
        });
    channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
  }

  private static MethodDescriptor<DynamicMessage, DynamicMessage> method(
      String name, MethodDescriptor.MethodType type, Map<String, Descriptor> messages) {
    return MethodDescriptor.<DynamicMessage, DynamicMessage>newBuilder()
        .setType(type)
        .setFullMethodName(PACKAGE + "StatusService/" + name)
        .setRequestMarshaller(marshaller(messages.get(PACKAGE + name + "Request")))
        .setResponseMarshaller(marshaller(messages.get(PACKAGE + name + "Response")))
        .build();
  }

  private static MethodDescriptor.Marshaller<DynamicMessage> marshaller(Descriptor type) {
    return ProtoUtils.marshaller(DynamicMessage.getDefaultInstance(type));
  }

  private static DynamicMessage request(Descriptor type, JsonObject call) {
    var request = DynamicMessage.newBuilder(type);
    if (call.has("reqIds")) {
      for (JsonElement reqId : call.getAsJsonArray("reqIds")) {
        request.addRepeatedField(type.findFieldByName("req_ids"), reqId.getAsString());
      }
    } else {
      request.setField(type.findFieldByName("req_id"), call.get("reqId").getAsString());
    }
    if (call.has("waitMs")) {
      request.setField(type.findFieldByName("wait"), Durations.fromMillis(call.get("waitMs").getAsLong()));
    }
    return request.build();
  }

  /** @param report takes the events of a stream, or is null. */
  private static StreamObserver<DynamicMessage> observer(
      CompletableFuture<JsonObject> answer, Consumer<JsonObject> report) {
    return new StreamObserver<>() {
      private final JsonObject told = new JsonObject();

      @Override
      public void onNext(DynamicMessage response) {
        if (report != null) report.accept(json(response));
        else told.add("response", json(response));
      }

      @Override
      public void onCompleted() {
        if (report != null) told.add("status", new JsonObject());
        answer.complete(told);
      }

      @Override
      public void onError(Throwable error) {
        told.add("status", json(StatusProto.fromThrowable(error)));
        Metadata trailers = Status.trailersFromThrowable(error);
        if (trailers != null && trailers.containsKey(REQUEST_ID)) {
          told.addProperty("requestId", trailers.get(REQUEST_ID));
        }
        answer.complete(told);
      }
    };
  }

  private static JsonObject json(MessageOrBuilder message) {
    try {
      return JsonParser.parseString(JSON.print(message)).getAsJsonObject();
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalStateException(error);
    }
  }

  /** @return all messages of a FileDescriptorSet, whose files come after those that they import. */
  private static Map<String, Descriptor> readMessages(Path path) throws IOException {
    Map<String, FileDescriptor> files = new HashMap<>();
    Map<String, Descriptor> messages = new HashMap<>();
    for (FileDescriptorProto proto : FileDescriptorSet.parseFrom(Files.readAllBytes(path)).getFileList()) {
      List<FileDescriptor> imports = new ArrayList<>();
      for (String name : proto.getDependencyList()) imports.add(files.get(name));
      try {
        FileDescriptor file = FileDescriptor.buildFrom(proto, imports.toArray(FileDescriptor[]::new));
        files.put(proto.getName(), file);
        for (Descriptor message : file.getMessageTypes()) messages.put(message.getFullName(), message);
      } catch (com.google.protobuf.Descriptors.DescriptorValidationException error) {
        throw new IOException(error);
      }
    }
    return messages;
  }

  private GrpcJava() {}
}
