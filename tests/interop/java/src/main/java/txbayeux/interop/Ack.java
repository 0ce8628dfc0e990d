package txbayeux.interop;

import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import org.cometd.bayeux.Channel;
import org.cometd.bayeux.client.ClientSessionChannel;
import org.cometd.client.BayeuxClient;
import org.cometd.client.ext.AckExtension;
import org.eclipse.jetty.util.ajax.JSON;

/** CometD's Java client with its AckExtension: the counterpart of ../node/ack.js. */
public final class Ack {
    private static final JSON JSON = new JSON();

    private Ack() {
    }

    /** Takes URL, transport and channel; prints what ../node/ack.js prints. */
    public static void main(String[] args) throws Exception {
        BayeuxClient client = new BayeuxClient(args[0], new Transports().make(args[1]));
        client.addExtension(new AckExtension());
        client.setBackOffStrategy(new BayeuxClient.BackOffStrategy.Constant(100));
        AtomicBoolean ready = new AtomicBoolean();
        client.getChannel(Channel.META_HANDSHAKE).addListener(
            (ClientSessionChannel.MessageListener)(channel, reply) -> {
                Map<?, ?> ext = reply.getExt();
                Map<String, Object> line = new HashMap<>();
                line.put("handshake", reply.isSuccessful());
                line.put("ack", ext == null ? null : ext.get("ack"));
                print(line);
                if (reply.isSuccessful()) {
                    subscribe(client, args[2], ready);
                }
            });
        client.handshake();
        Thread.currentThread().join();
    }

    private static void subscribe(BayeuxClient client, String channel, AtomicBoolean ready) {
        client.getChannel(channel).subscribe(
            (ignored, message) -> print(Map.of("data", message.getData())),
            reply -> {
                if (reply.isSuccessful() && !ready.getAndSet(true)) {
                    print(Map.of("ready", true));
                }
            });
    }

    private static synchronized void print(Map<String, Object> line) {
        System.out.println(JSON.toJSON(line));
    }
}
