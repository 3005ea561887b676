//! Which topics the store was written from. A topic that was deleted and made anew has the same name
//! and another id, and offsets of the old one mean nothing in it.

use std::collections::HashMap;

use comanda_schemas::TopicId;

use crate::{Error, Store};

impl Store {
    /// The ids of the topics that were read, by their names, as far as brokers told them.
    pub async fn topic_ids(&self) -> Result<HashMap<String, TopicId>, Error> {
        let doing = "read the ids of topics";
        let mut session = self.keyed_reader(doing).await?;
        let sql = session.sql("SELECT topic, topic_id FROM topic_ids");
        let rows: Vec<(String, String)> = session.fetch(sql, doing).await?;
        Ok(rows.into_iter().filter_map(|(topic, id)| Some((topic, id.parse().ok()?))).collect())
    }

    /// Notes which topic is read under a name, where that is not known yet.
    pub async fn adopt_topic(&self, topic: &str, id: TopicId) -> Result<(), Error> {
        let doing = "store the id of a topic";
        let mut session = self.writer(doing).await?;
        let mut sql = session.sql("INSERT INTO topic_ids (topic, topic_id) VALUES (");
        sql.bind(topic.to_owned()).push(", ").bind(id.to_string());
        sql.push(") ON CONFLICT (topic) DO NOTHING");
        session.execute(sql, doing).await
    }

    /// Forgets how far a topic was read, and which it was: the one that has the name now is read
    /// from its beginning. What was read stays.
    pub async fn forget_topic(&self, topic: &str) -> Result<(), Error> {
        let doing = "forget how far a topic was read";
        let mut session = self.writer(doing).await?;
        session.begin(doing).await?;
        for table in ["applied_offsets", "topic_ids"] {
            let mut sql = session.sql(format!("DELETE FROM {table} WHERE topic = "));
            sql.bind(topic.to_owned());
            session.execute(sql, doing).await?;
        }
        session.commit(doing).await
    }
}
