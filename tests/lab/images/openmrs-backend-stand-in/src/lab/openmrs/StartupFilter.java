// Copyright (c) 2026, AudioProthese+ platform team
// SPDX-License-Identifier: GPL-3.0-or-later
package lab.openmrs;

import java.io.IOException;
import javax.servlet.FilterChain;
import javax.servlet.ServletException;
import javax.servlet.annotation.WebFilter;
import javax.servlet.http.HttpFilter;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;

/**
 * The health pages (started: the application works; alive: it works or is on its way) and 503 for everything else until
 * the start is through. Neither page asks the database.
 */
@WebFilter("/*")
public final class StartupFilter extends HttpFilter {
    @Override
    protected void doFilter(HttpServletRequest request, HttpServletResponse response, FilterChain chain)
            throws IOException, ServletException {
        Startup.State state = Startup.state(request.getServletContext());
        String path = request.getServletPath() + (request.getPathInfo() == null ? "" : request.getPathInfo());
        switch (path) {
            case "/health/started" -> answer(response, state == Startup.State.STARTED, state);
            case "/health/alive" -> answer(response, state != Startup.State.FAILED, state);
            default -> {
                if (state == Startup.State.STARTED) {
                    chain.doFilter(request, response);
                } else {
                    answer(response, false, state);
                }
            }
        }
    }

    private static void answer(HttpServletResponse response, boolean good, Startup.State state) throws IOException {
        response.setStatus(good ? HttpServletResponse.SC_OK : HttpServletResponse.SC_SERVICE_UNAVAILABLE);
        response.setContentType("text/plain");
        response.getWriter().println(state);
    }
}
