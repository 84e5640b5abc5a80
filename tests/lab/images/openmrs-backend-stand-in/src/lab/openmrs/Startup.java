// Copyright (c) 2026, AudioProthese+ platform team
// SPDX-License-Identifier: GPL-3.0-or-later
package lab.openmrs;

import java.math.BigDecimal;
import java.nio.file.Files;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.util.Properties;
import java.util.logging.Level;
import java.util.logging.Logger;
import javax.servlet.ServletContext;
import javax.servlet.ServletContextEvent;
import javax.servlet.ServletContextListener;
import javax.servlet.annotation.WebListener;

/** Installs or updates beside Tomcat's own start, as OpenMRS does: the port is open long before the application is. */
@WebListener
public final class Startup implements ServletContextListener {
    enum State { SETTING_UP, STARTED, FAILED }

    private static final Logger LOG = Logger.getLogger(Startup.class.getName());
    private static final int INDEX_VERSION = 8;

    private Application application;

    static State state(ServletContext context) {
        return (State) context.getAttribute("state");
    }

    @Override
    public void contextInitialized(ServletContextEvent event) {
        ServletContext context = event.getServletContext();
        context.setAttribute("state", State.SETTING_UP);
        Thread thread = new Thread(() -> {
            try {
                application = start(new Configuration());
                context.setAttribute("application", application);
                context.setAttribute("state", State.STARTED);
                LOG.info("OpenMRS stand-in has started");
            } catch (Exception | LinkageError failure) {
                // As in OpenMRS: nothing is tried again, the health pages say 503 until somebody starts the container again.
                context.setAttribute("state", State.FAILED);
                LOG.log(Level.SEVERE, "The start has failed for good", failure);
            }
        }, "startup");
        thread.setDaemon(true);
        thread.start();
    }

    @Override
    public void contextDestroyed(ServletContextEvent event) {
        if (application != null) {
            application.close();
        }
    }

    private static Application start(Configuration configuration) throws Exception {
        System.setProperty("liquibase.analytics.enabled", "false");
        boolean first = !configuration.installed();
        Properties installation = configuration.installation();
        Properties current = configuration.current();
        Class.forName(current.getProperty("connection.driver_class"));
        if (first && !"auto".equals(installation.getProperty("install_method"))) {
            throw new IllegalStateException("the stand-in has no wizard: OMRS_INSTALL_METHOD must be auto");
        }
        if (first && !Boolean.parseBoolean(installation.getProperty("has_current_openmrs_database"))) {
            throw new IllegalStateException("the stand-in creates no database: OMRS_HAS_CURRENT_OPENMRS_DATABASE must be true");
        }
        boolean mayChange = Boolean.parseBoolean(first
            ? installation.getProperty("create_tables")
            : current.getProperty("auto_update_database", installation.getProperty("auto_update_database")));
        migrate(current, mayChange, installation.getProperty("stand_in.pause", "2.5"));
        Application application = new Application(configuration.data, current);
        if (first) {
            application.setAdministratorPassword(installation.getProperty("admin_user_password"));
            configuration.freeze();
        }
        // The property in the database decides, not what is in the directory: a lost volume means an empty search.
        if (!String.valueOf(INDEX_VERSION).equals(application.globalProperty("search.indexVersion"))) {
            application.reindex();
            application.setGlobalProperty("search.indexVersion", String.valueOf(INDEX_VERSION));
        }
        Files.createDirectories(configuration.data.resolve("complex_obs"));
        return application;
    }

    private static void migrate(Properties properties, boolean mayChange, String pause) throws Exception {
        Connection connection = DriverManager.getConnection(
            properties.getProperty("connection.url"),
            properties.getProperty("connection.username"),
            properties.getProperty("connection.password"));
        // Not a parameter of the change sets: their checksums would depend on it.
        try (PreparedStatement statement = connection.prepareStatement("SET @stand_in_pause = ?")) {
            statement.setBigDecimal(1, new BigDecimal(pause));
            statement.execute();
        }
        try (Schema schema = new Schema(connection)) {
            if (mayChange) {
                schema.update();
            } else if (!schema.pending().isEmpty()) {
                throw new IllegalStateException("change sets are pending and may not be applied");
            }
        }
    }
}
