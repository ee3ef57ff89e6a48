use crm_core::{
    port::queue::{DeadLetter, DeadLetters, Group, QueueError, QueueResult, Which},
    time::Timestamp,
};
use redis::streams::{StreamId, StreamRangeReply};
use uuid::Uuid;

use super::queue::Shared;
use crate::envelope;

impl Shared {
    pub(super) async fn dead_letters(
        &self,
        group: Group,
        after: Option<&str>,
        limit: usize,
    ) -> QueueResult<DeadLetters> {
        crate::check_page(limit)?;
        let from = match after {
            Some(id) if is_id(id) => format!("({id}"),
            Some(_) => return Err(QueueError::Misuse("no page of dead letters ended there".to_owned())),
            None => "-".to_owned(),
        };
        let mut range = redis::cmd("XRANGE");
        range.arg(self.keys(group).dead()).arg(from).arg("+").arg("COUNT").arg(limit + 1);
        let mut reply: StreamRangeReply = self.link.query(&range).await?;
        let has_more = reply.ids.len() > limit;
        reply.ids.truncate(limit);
        let next = reply.ids.last().filter(|_| has_more).map(|entry| entry.id.clone());
        Ok(DeadLetters { letters: reply.ids.iter().map(letter).collect(), next })
    }

    /// Does so with each letter that is there now, and answers how many there were.
    pub(super) async fn each_dead(&self, group: Group, which: Which, what: &str) -> QueueResult<u64> {
        let keys = self.keys(group);
        let call = async |last: &str, message: &str| -> QueueResult<u64> {
            let mut invocation = self.scripts.dead(&keys);
            invocation.arg(what).arg(last).arg(message);
            Ok(self.link.run(&invocation).await?)
        };
        let Which::All = which else {
            let Which::One(message) = which else { return Ok(0) };
            return call("+", &message.to_string()).await;
        };
        // Not those that die again meanwhile.
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg(keys.dead()).arg("+").arg("-").arg("COUNT").arg(1);
        let newest: StreamRangeReply = self.link.query(&newest).await?;
        let Some(last) = newest.ids.first() else { return Ok(0) };
        let mut total = 0;
        loop {
            let some = call(&last.id, "").await?;
            total += some;
            if some == 0 {
                return Ok(total);
            }
        }
    }
}

fn is_id(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.len() <= 20 && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('-').is_some_and(|(time, place)| is_number(time) && is_number(place))
}

fn letter(entry: &StreamId) -> DeadLetter {
    let text: Vec<u8> = entry.get("m").unwrap_or_default();
    let message = std::str::from_utf8(&text)
        .ok()
        .and_then(envelope::read)
        .unwrap_or_else(|| envelope::unreadable(&text, Uuid::nil()));
    DeadLetter {
        message,
        attempts: entry.get("a").unwrap_or_default(),
        cause: entry.get("c").unwrap_or_default(),
        died_at: entry.get("t").and_then(Timestamp::from_milliseconds).unwrap_or_default(),
    }
}
