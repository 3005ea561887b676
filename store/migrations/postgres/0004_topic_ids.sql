-- Which topic each name stood for when it was first read: one that was made anew has another id, and
-- `applied_offsets` mean nothing in it.
CREATE TABLE topic_ids (
    topic    TEXT NOT NULL PRIMARY KEY,
    topic_id TEXT NOT NULL
);
