import io.prometheus.metrics.exporter.httpserver.HTTPServer;
import io.prometheus.metrics.instrumentation.jvm.JvmMetrics;
import java.io.IOException;

/** Tells Prometheus about the Java machine that it is loaded into: {@code -javaagent:agent.jar=PORT}. */
public final class JvmMetricsAgent {
    private JvmMetricsAgent() {}

    /**
     * Called by the machine before the program's own main method.
     *
     * @param port where GET /metrics is answered, on every address
     * @throws InterruptedException the machine is stopped while it starts
     */
    public static void premain(String port) throws InterruptedException {
        JvmMetrics.builder().register();
        Thread starter = new Thread(() -> serve(Integer.parseInt(port)), "jvm-metrics");
        // So is every thread that it starts, and none keeps a machine alive whose program has ended.
        starter.setDaemon(true);
        starter.start();
        starter.join();
    }

    private static void serve(int port) {
        try {
            HTTPServer.builder().port(port).buildAndStart();
        } catch (IOException error) {
            // A program without metrics is better than none.
            System.err.println("No metrics of the Java machine on port " + port + ": " + error);
        }
    }
}
