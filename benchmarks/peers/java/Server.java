import java.util.List;
import org.cometd.bayeux.server.BayeuxServer;
import org.cometd.server.BayeuxServerImpl;
import org.cometd.server.http.JSONHttpTransport;
import org.cometd.server.http.jakarta.CometDServlet;
import org.cometd.server.websocket.jetty.JettyWebSocketTransport;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Context;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.websocket.server.WebSocketUpgradeHandler;

/** CometD's server on 127.0.0.1: java -cp 'target/lib/*' Server.java PORT */
public final class Main {
    private static final int MAX_MESSAGE_SIZE = 1 << 20;

    public static void main(String[] args) throws Exception {
        Server server = new Server();
        ServerConnector connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        connector.setPort(Integer.parseInt(args[0]));
        connector.setAcceptQueueSize(4096);
        connector.setIdleTimeout(120_000);
        server.addConnector(connector);
        ServletContextHandler context = new ServletContextHandler("/");
        server.setHandler(context);
        context.insertHandler(WebSocketUpgradeHandler.from(server, context));

        BayeuxServerImpl bayeux = new BayeuxServerImpl();
        bayeux.setOption(Context.class.getName(), context.getContext());
        bayeux.setOption("ws.cometdURLMapping", "/bayeux/*");
        bayeux.setOption("timeout", 45_000);
        bayeux.setOption("maxInterval", 60_000);
        bayeux.setOption("ws.idleTimeout", 120_000);
        bayeux.setOption("maxMessageSize", MAX_MESSAGE_SIZE);
        bayeux.setOption("maxSessionsPerBrowser", -1);
        bayeux.setTransports(List.of(new JettyWebSocketTransport(bayeux), new JSONHttpTransport(bayeux)));
        context.setAttribute(BayeuxServer.ATTRIBUTE, bayeux);

        ServletHolder cometd = new ServletHolder(new CometDServlet());
        cometd.setAsyncSupported(true);
        cometd.setInitOrder(1);
        context.addServlet(cometd, "/bayeux/*");
        server.start();
        server.join();
    }
}
