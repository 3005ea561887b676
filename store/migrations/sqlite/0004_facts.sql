-- The second form of the store, beside the first (events, orders, positions), which stays as it is:
-- processes of the last build go on with it. What it has is copied in small transactions after this
-- (`unfinished`).

-- What was read from the topics, each event once, without the content of the order. Everything else
-- follows from it and from `contents`. A table with row ids: rows are appended one behind another, and
-- indexes carry a number in place of two ids. WITHOUT ROWID each row would spill into a page of its own.
CREATE TABLE facts (
    order_id      TEXT    NOT NULL,
    event_id      TEXT    NOT NULL,
    kind          TEXT    NOT NULL, -- order, payment, notification, payment_report
    happened      TEXT    NOT NULL, -- as the timeline calls it
    version       INTEGER,          -- of the order, where the event says it
    occurred_at   BIGINT  NOT NULL,
    topic         TEXT    NOT NULL,
    partition_id  INTEGER NOT NULL,
    record_offset BIGINT  NOT NULL,
    recorded_at   BIGINT  NOT NULL,
    customer_id   TEXT,             -- NULL until the order's first event is there
    fingerprint   TEXT,             -- of the request that placed the order
    content_id    TEXT,             -- what the order contained, in `contents`
    step          TEXT,             -- what the fold needs to know, as JSON
    body          TEXT    NOT NULL, -- the event without the content, as JSON
    PRIMARY KEY (order_id, event_id)
);
CREATE INDEX facts_by_place ON facts (topic, partition_id, record_offset);
CREATE INDEX facts_by_customer ON facts (customer_id, topic, partition_id, record_offset)
    WHERE customer_id IS NOT NULL;
CREATE INDEX facts_without_customer ON facts (recorded_at) WHERE customer_id IS NULL;

-- What orders contained, each content once, under an id that follows from it.
CREATE TABLE contents (
    content_id  TEXT NOT NULL PRIMARY KEY,
    order_id    TEXT NOT NULL,
    search_text TEXT NOT NULL,
    body        TEXT NOT NULL
);

-- One row an order, folded from its facts: all that lists show, filter and sort by.
CREATE TABLE order_states (
    order_id       TEXT   NOT NULL PRIMARY KEY,
    customer_id    TEXT   NOT NULL,
    status         TEXT   NOT NULL,
    payment_status TEXT   NOT NULL,
    payment_id     TEXT,
    placed_at      BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    waiting_since  BIGINT,
    content_id     TEXT   NOT NULL,
    body           TEXT   NOT NULL
);
CREATE INDEX states_by_time ON order_states (placed_at, order_id);
CREATE INDEX states_by_customer ON order_states (customer_id, placed_at, order_id);
CREATE INDEX states_by_status ON order_states (status, placed_at, order_id);
CREATE INDEX states_by_payment_status ON order_states (payment_status, placed_at, order_id);
CREATE INDEX states_by_update ON order_states (updated_at, order_id);
CREATE INDEX states_by_payment ON order_states (payment_id, placed_at, order_id)
    WHERE payment_id IS NOT NULL;
CREATE INDEX states_by_waiting ON order_states (waiting_since, order_id)
    WHERE waiting_since IS NOT NULL;

-- How far each partition has been applied; only ever grows.
CREATE TABLE applied_offsets (
    topic        TEXT    NOT NULL,
    partition_id INTEGER NOT NULL,
    next_offset  BIGINT  NOT NULL,
    PRIMARY KEY (topic, partition_id)
) WITHOUT ROWID;

-- What is still to be done before this form can be read.
CREATE TABLE unfinished (task TEXT NOT NULL PRIMARY KEY);
INSERT INTO unfinished SELECT 'copy events' WHERE EXISTS (SELECT 1 FROM positions);
