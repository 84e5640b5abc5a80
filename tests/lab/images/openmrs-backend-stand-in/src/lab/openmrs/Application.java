// Copyright (c) 2026, AudioProthese+ platform team
// SPDX-License-Identifier: GPL-3.0-or-later
package lab.openmrs;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.security.SecureRandom;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.tomcat.jdbc.pool.DataSource;
import org.apache.tomcat.jdbc.pool.PoolProperties;

/** What a started backend works with: the pool of connections, the search index, the data directory. */
final class Application {
    record User(String uuid, String name) implements java.io.Serializable { }

    record Patient(String uuid, String identifier, String givenName, String familyName, String gender, String birthdate) { }

    final Path data;
    final boolean passwordLocked;
    private final DataSource pool;
    private final PatientIndex index;

    Application(Path data, Properties properties) throws IOException {
        this.data = data;
        passwordLocked = Boolean.parseBoolean(properties.getProperty("admin.password.locked"));
        PoolProperties options = new PoolProperties();
        options.setDriverClassName(properties.getProperty("connection.driver_class"));
        options.setUrl(properties.getProperty("connection.url"));
        options.setUsername(properties.getProperty("connection.username"));
        options.setPassword(properties.getProperty("connection.password"));
        options.setMaxActive(50);
        options.setInitialSize(1);
        options.setMinIdle(1);
        options.setMaxWait(10_000);
        options.setTestOnBorrow(true);
        options.setValidationInterval(0);
        options.setValidationQuery("SELECT 1");
        options.setDefaultAutoCommit(false);
        options.setRollbackOnReturn(true);
        pool = new DataSource(options);
        index = new PatientIndex(data.resolve("lucene").resolve("indexes").resolve("Patient"));
    }

    void close() {
        pool.close(true);
        index.close();
    }

    Connection connection() throws SQLException {
        return pool.getConnection();
    }

    // --- global properties ------------------------------------------------------------------------------------------

    String globalProperty(String name) throws SQLException {
        return globalProperties().get(name);
    }

    Map<String, String> globalProperties() throws SQLException {
        Map<String, String> found = new TreeMap<>();
        try (Connection connection = connection();
             Statement statement = connection.createStatement();
             ResultSet rows = statement.executeQuery("SELECT property, property_value FROM global_property")) {
            while (rows.next()) {
                found.put(rows.getString(1), rows.getString(2));
            }
        }
        return found;
    }

    void setGlobalProperty(String name, String value) throws SQLException {
        execute("REPLACE INTO global_property (property, property_value) VALUES (?, ?)", name, value);
    }

    private void execute(String sql, String... values) throws SQLException {
        try (Connection connection = connection()) {
            insert(connection, sql, (Object[]) values);
            connection.commit();
        }
    }

    private static long insert(Connection connection, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql, Statement.RETURN_GENERATED_KEYS)) {
            for (int i = 0; i < values.length; i++) {
                statement.setObject(i + 1, values[i]);
            }
            statement.executeUpdate();
            ResultSet keys = statement.getGeneratedKeys();
            return keys.next() ? keys.getLong(1) : 0;
        }
    }

    // --- users ------------------------------------------------------------------------------------------------------

    Optional<User> authenticate(String name, String password) throws SQLException {
        try (Connection connection = connection();
             PreparedStatement statement =
                 connection.prepareStatement("SELECT uuid, username, password, salt FROM users WHERE username = ?")) {
            statement.setString(1, name);
            ResultSet row = statement.executeQuery();
            if (!row.next()) {
                return Optional.empty();
            }
            byte[] expected = row.getString("password").getBytes(StandardCharsets.US_ASCII);
            byte[] given = hash(password, row.getString("salt")).getBytes(StandardCharsets.US_ASCII);
            return MessageDigest.isEqual(expected, given)
                ? Optional.of(new User(row.getString("uuid"), row.getString("username")))
                : Optional.empty();
        }
    }

    void setAdministratorPassword(String password) throws SQLException {
        byte[] random = new byte[32];
        new SecureRandom().nextBytes(random);
        String salt = HexFormat.of().formatHex(random);
        execute("UPDATE users SET password = ?, salt = ? WHERE username = 'admin'", hash(password, salt), salt);
    }

    private static String hash(String password, String salt) {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-512").digest((password + salt).getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(digest);
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    // --- patients ---------------------------------------------------------------------------------------------------

    /** Four tables in one transaction; the answer is given after the commit. */
    void create(Patient patient) throws SQLException {
        try (Connection connection = connection()) {
            long id = insert(connection, "INSERT INTO person (uuid, gender, birthdate) VALUES (?, ?, ?)",
                patient.uuid, patient.gender, patient.birthdate);
            insert(connection, "INSERT INTO person_name (person_id, given_name, family_name) VALUES (?, ?, ?)",
                id, patient.givenName, patient.familyName);
            insert(connection, "INSERT INTO patient (patient_id) VALUES (?)", id);
            insert(connection, "INSERT INTO patient_identifier (patient_id, identifier) VALUES (?, ?)", id, patient.identifier);
            connection.commit();
        }
        index.add(patient);
    }

    List<Patient> patients(String where, String... values) throws SQLException {
        List<Patient> found = new ArrayList<>();
        String sql = "SELECT p.uuid, i.identifier, n.given_name, n.family_name, p.gender, p.birthdate FROM person p"
            + " JOIN person_name n USING (person_id) JOIN patient t ON t.patient_id = p.person_id"
            + " JOIN patient_identifier i ON i.patient_id = p.person_id " + where + " ORDER BY p.person_id";
        try (Connection connection = connection(); PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) {
                statement.setString(i + 1, values[i]);
            }
            ResultSet rows = statement.executeQuery();
            while (rows.next()) {
                found.add(new Patient(rows.getString(1), rows.getString(2), rows.getString(3), rows.getString(4),
                    rows.getString(5), rows.getString(6)));
            }
        }
        return found;
    }

    Optional<Patient> patient(String uuid) throws SQLException {
        return patients("WHERE p.uuid = ?", uuid).stream().findFirst();
    }

    /** Asks the index which patients match, and the database for what it knows of them. */
    List<Patient> search(String text) throws SQLException {
        List<Patient> found = new ArrayList<>();
        for (String uuid : index.search(text)) {
            patient(uuid).ifPresent(found::add);
        }
        return found;
    }

    void reindex() throws SQLException {
        try {
            index.rebuild(patients(""));
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }
}
