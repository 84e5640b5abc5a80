--liquibase formatted sql

-- The tables are a small part of OpenMRS's, with its names. Every change set takes its time (@stand_in_pause seconds, set for the session), as the
-- first start of OpenMRS does.

--changeset stand-in:1-01-global-property
DO SLEEP(@stand_in_pause);
CREATE TABLE IF NOT EXISTS global_property (property VARCHAR(255) PRIMARY KEY, property_value TEXT) ENGINE=InnoDB;

--changeset stand-in:1-02-users
DO SLEEP(@stand_in_pause);
CREATE TABLE IF NOT EXISTS users (
  user_id INT AUTO_INCREMENT PRIMARY KEY, uuid CHAR(38) NOT NULL UNIQUE, username VARCHAR(50) NOT NULL UNIQUE,
  password VARCHAR(128), salt VARCHAR(128)) ENGINE=InnoDB;

--changeset stand-in:1-03-person
DO SLEEP(@stand_in_pause);
CREATE TABLE IF NOT EXISTS person (
  person_id INT AUTO_INCREMENT PRIMARY KEY, uuid CHAR(38) NOT NULL UNIQUE, gender VARCHAR(50), birthdate DATE) ENGINE=InnoDB;

--changeset stand-in:1-04-person-name
DO SLEEP(@stand_in_pause);
CREATE TABLE IF NOT EXISTS person_name (
  person_name_id INT AUTO_INCREMENT PRIMARY KEY, person_id INT NOT NULL REFERENCES person (person_id),
  given_name VARCHAR(50) NOT NULL, family_name VARCHAR(50) NOT NULL) ENGINE=InnoDB;

--changeset stand-in:1-05-patient
DO SLEEP(@stand_in_pause);
CREATE TABLE IF NOT EXISTS patient (patient_id INT PRIMARY KEY REFERENCES person (person_id)) ENGINE=InnoDB;

--changeset stand-in:1-06-patient-identifier
DO SLEEP(@stand_in_pause);
CREATE TABLE IF NOT EXISTS patient_identifier (
  patient_identifier_id INT AUTO_INCREMENT PRIMARY KEY, patient_id INT NOT NULL REFERENCES patient (patient_id),
  identifier VARCHAR(50) NOT NULL UNIQUE) ENGINE=InnoDB;

--changeset stand-in:1-07-location
DO SLEEP(@stand_in_pause);
CREATE TABLE IF NOT EXISTS location (location_id INT AUTO_INCREMENT PRIMARY KEY, uuid CHAR(38) NOT NULL UNIQUE, name VARCHAR(255) NOT NULL) ENGINE=InnoDB;

--changeset stand-in:1-08-obs
DO SLEEP(@stand_in_pause);
CREATE TABLE IF NOT EXISTS obs (
  obs_id INT AUTO_INCREMENT PRIMARY KEY, uuid CHAR(38) NOT NULL UNIQUE, person_id INT NOT NULL REFERENCES person (person_id),
  value_complex VARCHAR(1000) NOT NULL) ENGINE=InnoDB;

--changeset stand-in:1-09-administrator
DO SLEEP(@stand_in_pause);
INSERT IGNORE INTO users (uuid, username) VALUES ('82f18b44-6814-11e8-923f-e9a88dcb533f', 'admin');

--changeset stand-in:1-10-first-data
DO SLEEP(@stand_in_pause);
INSERT IGNORE INTO location (uuid, name) VALUES ('8d6c993e-c2cc-11de-8d13-0010c6dffd0f', 'Unknown Location');
INSERT IGNORE INTO location (uuid, name) VALUES ('44c3efb0-2583-4c80-a79e-1f756a03c0a1', 'AudioProthese+ Paris');
INSERT IGNORE INTO global_property (property, property_value) VALUES ('default_locale', 'fr');
INSERT IGNORE INTO global_property (property, property_value) VALUES ('search.indexVersion', '');
INSERT IGNORE INTO global_property (property, property_value) VALUES ('stand_in.schema', '1');
