// Copyright (c) 2026, AudioProthese+ platform team
// SPDX-License-Identifier: GPL-3.0-or-later
package lab.openmrs;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;

/**
 * The two properties files of the container contract: what the start script writes at every start
 * (OPENMRS_INSTALLATION_SCRIPT), and what the first installation froze in the data directory. The start script merges
 * the first into the second; from then on only the second counts.
 */
final class Configuration {
    private static final String[] FROZEN = {
        "connection.driver_class", "connection.url", "connection.username", "connection.password",
        "auto_update_database", "module.allow_web_admin"
    };

    private final Path installation;
    private final Path runtime;
    final Path data;

    Configuration() {
        installation = Path.of(System.getProperty("OPENMRS_INSTALLATION_SCRIPT"));
        data = Path.of(System.getProperty("OPENMRS_APPLICATION_DATA_DIRECTORY"));
        runtime = data.resolve("openmrs-runtime.properties");
    }

    boolean installed() {
        return Files.exists(runtime);
    }

    Properties installation() throws IOException {
        return read(installation);
    }

    /** The properties in force. */
    Properties current() throws IOException {
        return installed() ? read(runtime) : installation();
    }

    /** Ends a first installation; written aside and renamed, so that a kill leaves all of it or nothing. */
    void freeze() throws IOException {
        Properties source = installation();
        Properties frozen = new Properties();
        for (String name : FROZEN) {
            frozen.setProperty(name, source.getProperty(name, ""));
        }
        Path aside = runtime.resolveSibling(runtime.getFileName() + ".new");
        try (var writer = Files.newBufferedWriter(aside)) {
            frozen.store(writer, "Written by the first installation");
        }
        Files.move(aside, runtime, java.nio.file.StandardCopyOption.ATOMIC_MOVE);
    }

    private static Properties read(Path file) throws IOException {
        Properties properties = new Properties();
        try (var reader = Files.newBufferedReader(file)) {
            properties.load(reader);
        }
        return properties;
    }
}
