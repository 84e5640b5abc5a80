// Copyright (c) 2026, AudioProthese+ platform team
// SPDX-License-Identifier: GPL-3.0-or-later
package lab.openmrs;

import java.sql.Connection;
import java.util.List;
import liquibase.Contexts;
import liquibase.LabelExpression;
import liquibase.Liquibase;
import liquibase.changelog.ChangeSet;
import liquibase.database.Database;
import liquibase.database.DatabaseFactory;
import liquibase.database.jvm.JdbcConnection;
import liquibase.exception.LiquibaseException;
import liquibase.lockservice.LockService;
import liquibase.lockservice.LockServiceFactory;
import liquibase.resource.ClassLoaderResourceAccessor;

/**
 * The schema, by Liquibase under its lock, with the rule of OpenMRS's DatabaseUpdater: a lock is set aside only where
 * nothing is pending; otherwise it is waited for, and the start fails when it stays.
 */
final class Schema implements AutoCloseable {
    private final Liquibase liquibase;

    Schema(Connection connection) throws LiquibaseException {
        Database database = DatabaseFactory.getInstance().findCorrectDatabaseImplementation(new JdbcConnection(connection));
        database.setDatabaseChangeLogTableName("liquibasechangelog");
        database.setDatabaseChangeLogLockTableName("liquibasechangeloglock");
        liquibase = new Liquibase(
            "changelog/master.yaml", new ClassLoaderResourceAccessor(Schema.class.getClassLoader()), database);
    }

    List<ChangeSet> pending() throws LiquibaseException {
        return liquibase.listUnrunChangeSets(new Contexts(), new LabelExpression());
    }

    void update() throws LiquibaseException {
        if (pending().isEmpty()) {
            LockService locks = LockServiceFactory.getInstance().getLockService(liquibase.getDatabase());
            if (locks.listLocks().length > 0) {
                locks.forceReleaseLock();
            }
            return;
        }
        liquibase.update(new Contexts());
    }

    @Override
    public void close() throws LiquibaseException {
        liquibase.close();
    }
}
