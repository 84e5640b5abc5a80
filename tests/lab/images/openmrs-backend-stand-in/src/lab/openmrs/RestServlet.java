// Copyright (c) 2026, AudioProthese+ platform team
// SPDX-License-Identifier: GPL-3.0-or-later
package lab.openmrs;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.logging.Level;
import java.util.logging.Logger;
import javax.servlet.ServletException;
import javax.servlet.annotation.MultipartConfig;
import javax.servlet.annotation.WebServlet;
import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import javax.servlet.http.HttpSession;
import javax.servlet.http.Part;

/** The few REST resources that the frontend and the platform's checks ask for. Everybody may read the session only. */
@WebServlet("/ws/*")
@MultipartConfig(maxFileSize = 50 * 1024 * 1024, fileSizeThreshold = 64 * 1024)
public final class RestServlet extends HttpServlet {
    private static final Logger LOG = Logger.getLogger(RestServlet.class.getName());
    private static final Gson JSON = new GsonBuilder().serializeNulls().create();

    /** An answer other than 200. */
    private static final class Refusal extends Exception {
        final int status;

        Refusal(int status, String message) {
            super(message);
            this.status = status;
        }
    }

    private record Answer(int status, Object body) { }

    @Override
    protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
        Application application = (Application) getServletContext().getAttribute("application");
        try {
            Optional<Application.User> user = user(application, request);
            Answer answer = answer(application, request, response, user);
            if (answer != null) {
                write(response, answer);
            }
        } catch (Refusal refusal) {
            write(response, new Answer(refusal.status, error(refusal.getMessage())));
        } catch (SQLException | ServletException failure) {
            LOG.log(Level.SEVERE, request.getMethod() + " " + request.getPathInfo(), failure);
            write(response, new Answer(500, error(failure.getClass().getSimpleName())));
        }
    }

    private Answer answer(Application application, HttpServletRequest request, HttpServletResponse response,
            Optional<Application.User> user) throws Refusal, SQLException, IOException, ServletException {
        String[] path = request.getPathInfo() == null ? new String[0] : request.getPathInfo().substring(1).split("/");
        boolean fhir = path.length == 3 && "fhir2".equals(path[0]);
        boolean rest = path.length >= 3 && "rest".equals(path[0]) && "v1".equals(path[1]);
        if (!fhir && !rest) {
            throw new Refusal(404, "no such resource");
        }
        String resource = path[2];
        String id = path.length > 3 ? path[3] : null;
        String call = (fhir ? "fhir " : "") + request.getMethod() + " " + resource + (id == null ? "" : " id");
        switch (call) {
            case "GET session":
                return new Answer(200, session(user));
            case "POST session":
                return new Answer(200, session(user));
            case "DELETE session":
                HttpSession old = request.getSession(false);
                if (old != null) {
                    old.invalidate();
                }
                return new Answer(204, null);
            default:
                if (user.isEmpty()) {
                    throw new Refusal(401, "User is not logged in");
                }
        }
        return switch (call) {
            case "fhir GET Location" -> new Answer(200, bundle(locations(application)));
            case "GET location" -> new Answer(200, results(locations(application)));
            case "GET systemsetting" -> new Answer(200, results(settings(application, request.getParameter("q"))));
            case "GET systemsetting id" -> new Answer(200, one(settings(application, id)));
            case "POST systemsetting" -> new Answer(201, setSetting(application, request));
            case "POST password" -> {
                changePassword(application, request);
                yield new Answer(200, null);
            }
            case "GET user" -> new Answer(200, results(List.of(described(user.get()))));
            case "GET user id" -> new Answer(200, described(user.get()));
            case "GET module" -> new Answer(200, results(modules(application)));
            case "GET patient" -> new Answer(200, results(application.search(required(request, "q")).stream()
                .map(RestServlet::described).toList()));
            case "GET patient id" -> new Answer(200, described(application.patient(id)
                .orElseThrow(() -> new Refusal(404, "no such patient"))));
            case "POST patient" -> new Answer(201, described(createPatient(application, request)));
            case "POST attachment" -> new Answer(201, createAttachment(application, request));
            case "GET attachment id" -> sendAttachment(application, id, response);
            case "POST searchindexupdate" -> {
                application.reindex();
                yield new Answer(200, Map.of());
            }
            default -> throw new Refusal(404, "no such resource");
        };
    }

    // --- who asks ---------------------------------------------------------------------------------------------------

    /** The user of the session, or of the Basic credentials, which then start a session. Wrong ones count as none. */
    private static Optional<Application.User> user(Application application, HttpServletRequest request) throws SQLException {
        String header = request.getHeader("Authorization");
        if (header != null && header.startsWith("Basic ")) {
            String[] credentials;
            try {
                credentials = new String(Base64.getDecoder().decode(header.substring(6)), StandardCharsets.UTF_8).split(":", 2);
            } catch (IllegalArgumentException notBase64) {
                return Optional.empty();
            }
            Optional<Application.User> found = credentials.length == 2
                ? application.authenticate(credentials[0], credentials[1])
                : Optional.empty();
            if (found.isPresent()) {
                request.getSession(true).setAttribute("user", found.get());
            }
            return found;
        }
        HttpSession session = request.getSession(true);
        return Optional.ofNullable((Application.User) session.getAttribute("user"));
    }

    private static Map<String, Object> session(Optional<Application.User> user) {
        Map<String, Object> found = new LinkedHashMap<>();
        found.put("authenticated", user.isPresent());
        found.put("locale", "fr");
        found.put("allowedLocales", List.of("fr", "en"));
        user.ifPresent(who -> {
            found.put("user", described(who));
            found.put("sessionLocation", null);
        });
        return found;
    }

    // --- resources --------------------------------------------------------------------------------------------------

    private static List<Map<String, Object>> locations(Application application) throws SQLException {
        List<Map<String, Object>> found = new ArrayList<>();
        try (Connection connection = application.connection();
             PreparedStatement statement = connection.prepareStatement("SELECT uuid, name FROM location ORDER BY name");
             ResultSet rows = statement.executeQuery()) {
            while (rows.next()) {
                found.add(Map.of("uuid", rows.getString(1), "display", rows.getString(2), "name", rows.getString(2)));
            }
        }
        return found;
    }

    private static List<Map<String, Object>> settings(Application application, String beginning) throws SQLException {
        List<Map<String, Object>> found = new ArrayList<>();
        application.globalProperties().forEach((name, value) -> {
            if (beginning != null && name.startsWith(beginning)) {
                found.add(Map.of("property", name, "value", value, "display", name + " = " + value));
            }
        });
        return found;
    }

    /** Makes a setting or changes it, as saving a global property does. */
    private static Map<String, Object> setSetting(Application application, HttpServletRequest request)
            throws Refusal, SQLException, IOException {
        String name;
        String value;
        try {
            JsonObject body = JSON.fromJson(request.getReader(), JsonObject.class);
            name = text(body, "property").orElseThrow(() -> new Refusal(400, "property is missing"));
            value = text(body, "value").orElse("");
        } catch (JsonParseException | NullPointerException | IllegalStateException malformed) {
            throw new Refusal(400, "a setting needs property and value");
        }
        application.setGlobalProperty(name, value);
        return one(settings(application, name));
    }

    /** The own password, under OpenMRS's rules: eight characters, of both cases and with a digit. */
    private static void changePassword(Application application, HttpServletRequest request)
            throws Refusal, SQLException, IOException {
        String old;
        String replacement;
        try {
            JsonObject body = JSON.fromJson(request.getReader(), JsonObject.class);
            old = text(body, "oldPassword").orElse("");
            replacement = text(body, "newPassword").orElse("");
        } catch (JsonParseException | NullPointerException | IllegalStateException malformed) {
            throw new Refusal(400, "a change of the password needs oldPassword and newPassword");
        }
        if (application.passwordLocked) {
            throw new Refusal(400, "admin.password.is.locked");
        }
        if (!replacement.matches("(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9]).{8,}")) {
            throw new Refusal(400, "error.password.weak");
        }
        if (application.authenticate("admin", old).isEmpty()) {
            throw new Refusal(400, "Passwords don't match");
        }
        application.setAdministratorPassword(replacement);
    }

    /** The modules in force: of several versions of one module the highest, as OpenMRS's ModuleFactory takes it. */
    private static List<Map<String, Object>> modules(Application application) throws IOException {
        Map<String, String> highest = new LinkedHashMap<>();
        Path folder = application.data.resolve("modules");
        if (Files.isDirectory(folder)) {
            try (var files = Files.list(folder)) {
                files.map(file -> file.getFileName().toString()).filter(name -> name.matches(".+-[0-9]+\\.omod")).sorted()
                    .forEach(name -> {
                        int dash = name.lastIndexOf('-');
                        highest.merge(name.substring(0, dash), name.substring(dash + 1, name.length() - 5),
                            (one, other) -> Integer.parseInt(one) > Integer.parseInt(other) ? one : other);
                    });
            }
        }
        List<Map<String, Object>> found = new ArrayList<>();
        highest.forEach((name, version) -> found.add(Map.of("uuid", name, "display", name, "version", version)));
        return found;
    }

    private static Application.Patient createPatient(Application application, HttpServletRequest request)
            throws Refusal, SQLException, IOException {
        JsonObject person;
        JsonObject name;
        String identifier;
        try {
            JsonObject body = JSON.fromJson(request.getReader(), JsonObject.class);
            person = body.getAsJsonObject("person");
            name = person.getAsJsonArray("names").get(0).getAsJsonObject();
            identifier = body.getAsJsonArray("identifiers").get(0).getAsJsonObject().get("identifier").getAsString();
        } catch (JsonParseException | NullPointerException | IllegalStateException | IndexOutOfBoundsException
                | ClassCastException malformed) {
            throw new Refusal(400, "a patient needs person.names and identifiers");
        }
        Application.Patient patient = new Application.Patient(
            text(person, "uuid").orElse(UUID.randomUUID().toString()), identifier,
            text(name, "givenName").orElseThrow(() -> new Refusal(400, "givenName is missing")),
            text(name, "familyName").orElseThrow(() -> new Refusal(400, "familyName is missing")),
            text(person, "gender").orElse("U"), text(person, "birthdate").orElse(null));
        try {
            application.create(patient);
        } catch (java.sql.SQLIntegrityConstraintViolationException taken) {
            throw new Refusal(400, "the identifier or uuid is in use");
        }
        return patient;
    }

    /** A complex observation: the row in the database points at the file on the volume, which is written first. */
    private static Map<String, Object> createAttachment(Application application, HttpServletRequest request)
            throws Refusal, SQLException, IOException, ServletException {
        Part file = request.getPart("file");
        String patient = request.getParameter("patient");
        if (file == null || patient == null) {
            throw new Refusal(400, "an attachment needs patient and file");
        }
        String uuid = UUID.randomUUID().toString();
        Path target = application.data.resolve("complex_obs").resolve(uuid);
        Files.copy(file.getInputStream(), target);
        try (Connection connection = application.connection();
             PreparedStatement statement = connection.prepareStatement(
                 "INSERT INTO obs (uuid, person_id, value_complex) SELECT ?, person_id, ? FROM person WHERE uuid = ?")) {
            statement.setString(1, uuid);
            statement.setString(2, uuid);
            statement.setString(3, patient);
            if (statement.executeUpdate() != 1) {
                Files.delete(target);
                throw new Refusal(404, "no such patient");
            }
            connection.commit();
        }
        return Map.of("uuid", uuid, "bytesContentFamily", "OTHER");
    }

    private static Answer sendAttachment(Application application, String uuid, HttpServletResponse response)
            throws Refusal, SQLException, IOException {
        try (Connection connection = application.connection();
             PreparedStatement statement = connection.prepareStatement("SELECT value_complex FROM obs WHERE uuid = ?")) {
            statement.setString(1, uuid);
            ResultSet row = statement.executeQuery();
            if (!row.next()) {
                throw new Refusal(404, "no such attachment");
            }
            Path file = application.data.resolve("complex_obs").resolve(row.getString(1));
            if (!Files.exists(file)) {
                throw new Refusal(404, "the database knows the attachment, the volume does not have its file");
            }
            response.setContentType("application/octet-stream");
            response.setContentLengthLong(Files.size(file));
            Files.copy(file, response.getOutputStream());
            return null;
        }
    }

    // --- shapes -----------------------------------------------------------------------------------------------------

    private static Map<String, Object> described(Application.User user) {
        return Map.of("uuid", user.uuid(), "display", user.name(), "username", user.name(), "systemId", user.name(),
            "userProperties", Map.of(), "privileges", List.of(), "roles", List.of(),
            "person", Map.of("uuid", user.uuid(), "display", user.name()));
    }

    private static Map<String, Object> described(Application.Patient patient) {
        String name = patient.givenName() + " " + patient.familyName();
        Map<String, Object> person = new LinkedHashMap<>();
        person.put("uuid", patient.uuid());
        person.put("display", name);
        person.put("gender", patient.gender());
        person.put("birthdate", patient.birthdate());
        return Map.of("uuid", patient.uuid(), "display", patient.identifier() + " - " + name, "person", person,
            "identifiers", List.of(Map.of("identifier", patient.identifier(), "display", patient.identifier())));
    }

    private static Map<String, Object> bundle(List<Map<String, Object>> locations) {
        List<Object> entries = new ArrayList<>();
        for (Map<String, Object> location : locations) {
            entries.add(Map.of("resource", Map.of("resourceType", "Location", "id", location.get("uuid"),
                "name", location.get("name"), "status", "active")));
        }
        return Map.of("resourceType", "Bundle", "type", "searchset", "total", entries.size(), "entry", entries);
    }

    private static Map<String, Object> results(List<? extends Map<String, Object>> found) {
        return Map.of("results", found);
    }

    private static Map<String, Object> one(List<Map<String, Object>> found) throws Refusal {
        if (found.isEmpty()) {
            throw new Refusal(404, "no such object");
        }
        return found.get(0);
    }

    private static Map<String, Object> error(String message) {
        return Map.of("error", Map.of("message", message, "code", "", "detail", ""));
    }

    private static String required(HttpServletRequest request, String name) throws Refusal {
        String value = request.getParameter(name);
        if (value == null || value.isBlank()) {
            throw new Refusal(400, "the parameter " + name + " is missing");
        }
        return value;
    }

    private static Optional<String> text(JsonObject object, String name) {
        JsonElement value = object.get(name);
        return value == null || value.isJsonNull() || value.getAsString().isBlank()
            ? Optional.empty()
            : Optional.of(value.getAsString());
    }

    private static void write(HttpServletResponse response, Answer answer) throws IOException {
        response.setStatus(answer.status);
        if (answer.body != null) {
            response.setContentType("application/json");
            response.setCharacterEncoding("UTF-8");
            JSON.toJson(answer.body, response.getWriter());
        }
    }
}
