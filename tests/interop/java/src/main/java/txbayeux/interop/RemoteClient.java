package txbayeux.interop;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import org.cometd.bayeux.Channel;
import org.cometd.bayeux.Message;
import org.cometd.bayeux.client.ClientSession;
import org.cometd.bayeux.client.ClientSessionChannel;
import org.cometd.client.BayeuxClient;
import org.cometd.client.transport.ClientTransport;

/** One BayeuxClient: the counterpart of ../node/clients/cometd.js. */
final class RemoteClient {
    private final String name;
    private final BayeuxClient client;
    private final Map<String, ClientSessionChannel.MessageListener> subscriptions = new ConcurrentHashMap<>();
    private final CompletableFuture<Map<String, Object>> handshaken = new CompletableFuture<>();
    private final CompletableFuture<Void> connected = new CompletableFuture<>();

    RemoteClient(String name, String url, ClientTransport transport) {
        this.name = name;
        this.client = new BayeuxClient(url, transport);
        client.addExtension(new ClientSession.Extension() {
            @Override
            public boolean rcv(ClientSession session, Message.Mutable message) {
                if (!message.containsKey(Message.SUCCESSFUL_FIELD)) {
                    emit("arrival", Map.of("channel", message.getChannel()));
                }
                return true;
            }
        });
        for (String channel : List.of(Channel.META_HANDSHAKE, Channel.META_CONNECT, Channel.META_SUBSCRIBE,
                Channel.META_UNSUBSCRIBE, Channel.META_DISCONNECT)) {
            ClientSessionChannel.MessageListener listener = (ignored, message) -> replied(message);
            client.getChannel(channel).addListener(listener);
        }
    }

    CompletableFuture<Map<String, Object>> open(Map<?, ?> ext) {
        client.handshake(ext == null ? null : Map.of("ext", ext), message -> { });
        return handshaken.thenCompose(reply ->
            reply.get("successful").equals(true)
                ? connected.thenApply(ignored -> reply)
                : CompletableFuture.completedFuture(reply));
    }

    CompletableFuture<Map<String, Object>> subscribe(String channel) {
        return reply(callback -> subscribe(channel, callback));
    }

    private void subscribe(String channel, ClientSession.MessageListener callback) {
        ClientSessionChannel.MessageListener listener = (ignored, message) -> {
            Map<String, Object> event = new HashMap<>();
            event.put("subscription", channel);
            event.put("channel", message.getChannel());
            event.put("data", message.getData());
            emit("message", event);
        };
        subscriptions.put(channel, listener);
        client.getChannel(channel).subscribe(listener, callback);
    }

    CompletableFuture<Map<String, Object>> unsubscribe(String channel) {
        ClientSessionChannel.MessageListener listener = subscriptions.remove(channel);
        return reply(callback -> client.getChannel(channel).unsubscribe(listener, callback));
    }

    CompletableFuture<Map<String, Object>> publish(String channel, Object data) {
        return reply(callback -> client.getChannel(channel).publish(data, callback));
    }

    CompletableFuture<List<Object>> publishAll(String channel, Object[] items, boolean pipelined) {
        List<Object> replies = new ArrayList<>();
        CompletableFuture<?> last = CompletableFuture.completedFuture(null);
        for (Object item : items) {
            CompletableFuture<?> before = last;
            CompletableFuture<Map<String, Object>> published = pipelined
                ? publish(channel, item)
                : before.thenCompose(ignored -> publish(channel, item));
            last = before.thenCombine(published, (ignored, reply) -> replies.add(reply));
        }
        return last.thenApply(ignored -> replies);
    }

    CompletableFuture<Map<String, Object>> disconnect() {
        return reply(client::disconnect);
    }

    String transport() {
        return client.getTransport().getName();
    }

    CompletableFuture<Void> close() {
        client.abort();
        return CompletableFuture.completedFuture(null);
    }

    private void replied(Message message) {
        Map<String, Object> reply = summary(message);
        emit("reply", reply);
        switch (message.getChannel()) {
            case Channel.META_HANDSHAKE -> {
                if (!handshaken.complete(reply) && message.isSuccessful()) {
                    // The client forgets its subscriptions at each handshake; its documentation
                    // tells applications to make them in a listener of it.
                    client.batch(() -> List.copyOf(subscriptions.keySet())
                        .forEach(channel -> subscribe(channel, ignored -> { })));
                }
            }
            case Channel.META_CONNECT -> {
                if (message.isSuccessful()) {
                    connected.complete(null);
                }
            }
            default -> { }
        }
    }

    private void emit(String kind, Map<String, Object> fields) {
        Map<String, Object> event = new HashMap<>(fields);
        event.put("client", name);
        event.put("event", kind);
        ClientProgram.say(event);
    }

    private interface Request {
        void send(ClientSession.MessageListener callback);
    }

    private static CompletableFuture<Map<String, Object>> reply(Request request) {
        CompletableFuture<Map<String, Object>> future = new CompletableFuture<>();
        request.send(message -> future.complete(summary(message)));
        return future;
    }

    private static Map<String, Object> summary(Message message) {
        Map<String, Object> reply = new HashMap<>();
        reply.put("channel", message.getChannel());
        reply.put("successful", message.isSuccessful());
        reply.put("error", message.get(Message.ERROR_FIELD));
        reply.put("subscription", message.get(Message.SUBSCRIPTION_FIELD));
        return reply;
    }
}
