// Copyright (c) 2026, AudioProthese+ platform team
// SPDX-License-Identifier: GPL-3.0-or-later
package lab.openmrs;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.apache.lucene.analysis.standard.StandardAnalyzer;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.StringField;
import org.apache.lucene.document.TextField;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.Term;
import org.apache.lucene.search.BooleanClause;
import org.apache.lucene.search.BooleanQuery;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.PrefixQuery;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.store.FSDirectory;

/** The search index on the volume, by Lucene; it can be made again from the database at any time. */
final class PatientIndex {
    private static final int MOST = 50;

    private final IndexWriter writer;

    PatientIndex(Path folder) throws IOException {
        Files.createDirectories(folder);
        writer = new IndexWriter(FSDirectory.open(folder), new IndexWriterConfig(new StandardAnalyzer()));
        writer.commit();
    }

    void close() {
        try {
            writer.close();
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    void add(Application.Patient patient) {
        try {
            writer.updateDocument(new Term("uuid", patient.uuid()), document(patient));
            writer.commit();
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    void rebuild(List<Application.Patient> patients) throws IOException {
        writer.deleteAll();
        for (Application.Patient patient : patients) {
            writer.addDocument(document(patient));
        }
        writer.commit();
    }

    /** Uuids of the patients in whose names and identifiers every word is the beginning of a word. */
    List<String> search(String text) {
        BooleanQuery.Builder query = new BooleanQuery.Builder();
        for (String word : text.toLowerCase(Locale.ROOT).trim().split("[^\\p{L}\\p{N}]+")) {
            query.add(new PrefixQuery(new Term("text", word)), BooleanClause.Occur.MUST);
        }
        try (DirectoryReader reader = DirectoryReader.open(writer)) {
            IndexSearcher searcher = new IndexSearcher(reader);
            List<String> found = new ArrayList<>();
            for (ScoreDoc hit : searcher.search(query.build(), MOST).scoreDocs) {
                found.add(searcher.storedFields().document(hit.doc).get("uuid"));
            }
            return found;
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    private static Document document(Application.Patient patient) {
        Document document = new Document();
        document.add(new StringField("uuid", patient.uuid(), Field.Store.YES));
        String text = String.join(" ", patient.givenName(), patient.familyName(), patient.identifier());
        document.add(new TextField("text", text, Field.Store.NO));
        return document;
    }
}
