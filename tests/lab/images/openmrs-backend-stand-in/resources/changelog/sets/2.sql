--liquibase formatted sql

-- Version 2: what an upgrade of OpenMRS brings. The version before it goes on working on this schema.

--changeset stand-in:2-01-person-name-middle
DO SLEEP(@stand_in_pause);
ALTER TABLE person_name ADD COLUMN IF NOT EXISTS middle_name VARCHAR(50) NULL;

--changeset stand-in:2-02-obs-comments
DO SLEEP(@stand_in_pause);
ALTER TABLE obs ADD COLUMN IF NOT EXISTS comments VARCHAR(255) NULL;

--changeset stand-in:2-03-schema
DO SLEEP(@stand_in_pause);
UPDATE global_property SET property_value = '2' WHERE property = 'stand_in.schema';
