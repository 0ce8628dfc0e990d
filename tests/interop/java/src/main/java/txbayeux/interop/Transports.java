package txbayeux.interop;

import jakarta.websocket.ContainerProvider;
import jakarta.websocket.WebSocketContainer;
import java.util.HashMap;
import java.util.Map;
import org.cometd.client.http.jetty.JettyHttpClientTransport;
import org.cometd.client.transport.ClientTransport;
import org.cometd.client.websocket.jakarta.WebSocketTransport;
import org.eclipse.jetty.client.HttpClient;
import org.eclipse.jetty.util.component.LifeCycle;

/** Makes the transports of CometD's Java client, by their Bayeux names. */
final class Transports {
    private static final int MAX_MESSAGE_SIZE = 4 * 1024 * 1024;

    private final HttpClient http = new HttpClient();
    private final WebSocketContainer webSocket = ContainerProvider.getWebSocketContainer();

    Transports() throws Exception {
        http.start();
        LifeCycle.start(webSocket);
    }

    ClientTransport make(String name) {
        Map<String, Object> options = new HashMap<>();
        options.put(ClientTransport.MAX_MESSAGE_SIZE_OPTION, MAX_MESSAGE_SIZE);
        options.put(ClientTransport.MAX_SEND_BAYEUX_MESSAGE_SIZE_OPTION, MAX_MESSAGE_SIZE);
        return switch (name) {
            case "long-polling" -> new JettyHttpClientTransport(options, http);
            case "websocket" -> new WebSocketTransport(options, null, webSocket);
            default -> throw new IllegalArgumentException(name);
        };
    }
}
