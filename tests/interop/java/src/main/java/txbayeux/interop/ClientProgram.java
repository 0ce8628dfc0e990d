package txbayeux.interop;

import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.eclipse.jetty.util.ajax.JSON;

/** CometD's Java client, driven by JSON lines as ../node/node.js is. */
public final class ClientProgram {
    private static final JSON JSON = new JSON();
    private static final PrintStream OUT =
        new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);

    private final Map<String, RemoteClient> clients = new ConcurrentHashMap<>();
    private final Transports transports;

    private ClientProgram(Transports transports) {
        this.transports = transports;
    }

    public static void main(String[] args) throws Exception {
        // Libraries may write to System.out; standard output belongs to the driver.
        System.setOut(System.err);
        ClientProgram program = new ClientProgram(new Transports());
        ExecutorService threads = Executors.newCachedThreadPool();
        say(Map.of("ready", true));
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            @SuppressWarnings("unchecked")
            Map<String, Object> command = (Map<String, Object>)JSON.fromJSON(line);
            threads.execute(() -> program.answer(command));
        }
        Runtime.getRuntime().halt(0);
    }

    static void say(Map<String, Object> message) {
        String line = JSON.toJSON(message);
        synchronized (OUT) {
            OUT.print(line + "\n");
            OUT.flush();
        }
    }

    private void answer(Map<String, Object> command) {
        CompletableFuture<?> result;
        try {
            result = perform(command);
        } catch (Exception failure) {
            result = CompletableFuture.failedFuture(failure);
        }
        result.whenComplete((value, failure) -> {
            Map<String, Object> answer = new HashMap<>();
            answer.put("id", command.get("id"));
            if (failure == null) {
                answer.put("result", value);
            } else {
                answer.put("failed", failure.toString());
            }
            say(answer);
        });
    }

    private CompletableFuture<?> perform(Map<String, Object> command) throws Exception {
        String name = (String)command.get("client");
        String operation = (String)command.get("do");
        if (operation.equals("open")) {
            RemoteClient client = new RemoteClient(name, (String)command.get("url"), transports.make((String)command.get("transport")));
            clients.put(name, client);
            return client.open((Map<?, ?>)command.get("ext"));
        }
        RemoteClient client = clients.get(name);
        String channel = (String)command.get("channel");
        return switch (operation) {
            case "subscribe" -> client.subscribe(channel);
            case "unsubscribe" -> client.unsubscribe(channel);
            case "publish" -> client.publish(channel, command.get("data"));
            case "publishAll" -> client.publishAll(
                channel, (Object[])command.get("items"), Boolean.TRUE.equals(command.get("pipelined")));
            case "disconnect" -> client.disconnect();
            case "transport" -> CompletableFuture.completedFuture(client.transport());
            case "close" -> clients.remove(name).close();
            default -> throw new IllegalArgumentException(operation);
        };
    }
}
