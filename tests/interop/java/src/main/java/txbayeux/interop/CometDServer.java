package txbayeux.interop;

import jakarta.servlet.http.HttpServlet;
import java.net.InetSocketAddress;
import java.util.Map;
import org.cometd.bayeux.server.BayeuxServer;
import org.cometd.bayeux.server.ServerChannel;
import org.cometd.bayeux.server.ServerMessage;
import org.cometd.bayeux.server.ServerSession;
import org.cometd.server.BayeuxServerImpl;
import org.cometd.server.DefaultSecurityPolicy;
import org.cometd.server.http.JSONHttpTransport;
import org.cometd.server.http.JSONPHttpTransport;
import org.cometd.server.http.jakarta.CometDServlet;
import org.cometd.server.websocket.jetty.JettyWebSocketTransport;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Context;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.websocket.server.WebSocketUpgradeHandler;

/** CometD's own Java server on 127.0.0.1: CometDServer PORT TIMEOUT, in seconds */
public final class CometDServer {
    private static final int MAX_MESSAGE_SIZE = 4 * 1024 * 1024;

    private CometDServer() {
    }

    public static void main(String[] args) throws Exception {
        Server server = new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])));
        ServletContextHandler context = new ServletContextHandler("/");
        server.setHandler(context);
        context.insertHandler(WebSocketUpgradeHandler.from(server, context));

        BayeuxServerImpl bayeux = new BayeuxServerImpl();
        bayeux.setOption(Context.class.getName(), context.getContext());
        bayeux.setOption("ws.cometdURLMapping", "/bayeux/*");
        bayeux.setOption("timeout", 1000 * Integer.parseInt(args[1]));
        bayeux.setOption("maxMessageSize", MAX_MESSAGE_SIZE);
        bayeux.setOption("maxSessionsPerBrowser", -1);
        bayeux.setTransports(
            new JettyWebSocketTransport(bayeux),
            new JSONHttpTransport(bayeux),
            new JSONPHttpTransport(bayeux));
        bayeux.setSecurityPolicy(new Policy());
        context.setAttribute(BayeuxServer.ATTRIBUTE, bayeux);

        ServletHolder cometd = new ServletHolder(new CometDServlet());
        cometd.setAsyncSupported(true);
        cometd.setInitOrder(1);
        context.addServlet(cometd, "/bayeux/*");
        context.addServlet(new ServletHolder(new HttpServlet() {
        }), "/");
        server.start();
        server.join();
    }

    /** The rules of ../node/peers/rules.js. */
    private static final class Policy extends DefaultSecurityPolicy {
        @Override
        public boolean canHandshake(BayeuxServer server, ServerSession session, ServerMessage message) {
            Map<String, Object> ext = message.getExt();
            return ext == null || !Boolean.TRUE.equals(ext.get("refuse"));
        }

        @Override
        public boolean canSubscribe(
                BayeuxServer server, ServerSession session, ServerChannel channel, ServerMessage message) {
            return allows(channel);
        }

        @Override
        public boolean canPublish(
                BayeuxServer server, ServerSession session, ServerChannel channel, ServerMessage message) {
            return allows(channel);
        }

        private static boolean allows(ServerChannel channel) {
            return !channel.getId().startsWith("/forbidden/");
        }
    }
}
