use std::{collections::BTreeSet, str::FromStr};

use clap::Args;
use crm_core::{
    Crm,
    event::{EVENTS, EventId, HANDLERS, set_aside},
    port::queue::Which,
};
use crm_http::settings::Settings;
use uuid::Uuid;

use super::{Failure, compose, say};

/// How many are read at once.
const PAGE: usize = 100;

/// What is done with them; without any of it they are listed.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Hand on again the event with this id, or all.
    #[arg(long, value_name = "ID|all", conflicts_with = "drop")]
    replay: Option<Chosen>,
    /// Give up the event with this id, or all: nobody else is told of it.
    #[arg(long, value_name = "ID|all")]
    drop: Option<Chosen>,
}

#[derive(Clone, Copy, Debug)]
enum Chosen {
    One(Uuid),
    All,
}

impl FromStr for Chosen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            id => Uuid::try_parse(id).map(Self::One).map_err(|_| "must be the id of an event, or all"),
        }
    }
}

impl Chosen {
    const fn in_queue(self) -> Which {
        match self {
            Self::One(id) => Which::One(id),
            Self::All => Which::All,
        }
    }
}

/// Shows the events that nobody takes, hands them on again, or gives them up.
pub(super) fn run(settings: &Settings, options: &Options) -> Result<(), Failure> {
    compose::runtime(settings)?.block_on(async {
        let crm = compose::crm(settings, compose::store(settings).await?)?;
        let done = decide(&crm, options).await;
        if let Some(queue) = crm.queue() {
            queue.close().await;
        }
        crm.store().close().await;
        done
    })
}

async fn decide(crm: &Crm, options: &Options) -> Result<(), Failure> {
    let (chosen, count, done) = match (options.replay, options.drop) {
        (Some(chosen), _) => (chosen, replay(crm, chosen).await?, "Events to be handed on again"),
        (None, Some(chosen)) => (chosen, drop(crm, chosen).await?, "Events dropped"),
        (None, None) => return list(crm).await,
    };
    if let (Chosen::One(id), 0) = (chosen, count) {
        return Err(format!("no event {id} is set aside").into());
    }
    Ok(say(format_args!("{done}: {count}"))?)
}

async fn list(crm: &Crm) -> Result<(), Failure> {
    let mut count: u64 = 0;
    let mut after = None;
    loop {
        let page = set_aside::list(crm, after, PAGE).await?;
        for event in &page {
            count += 1;
            let cause = event.cause.as_deref().unwrap_or_default();
            say(line(event.id.0, &event.event_type, &event.record_id.to_string(), cause))?;
        }
        after = page.last().map(|event| event.id);
        if page.len() < PAGE {
            break;
        }
    }
    if let Some(queue) = crm.queue() {
        let group = EVENTS.group(HANDLERS)?;
        let mut after: Option<String> = None;
        loop {
            let page = queue.dead_letters(group, after.as_deref(), PAGE).await?;
            for letter in &page.letters {
                count += 1;
                let (message, record) = (&letter.message, letter.message.key.as_deref().unwrap_or("-"));
                say(line(message.id, &message.kind, record, &letter.cause))?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(say(format_args!("Events set aside: {count}"))?)
}

/// One event, with nothing in it that a terminal would obey.
fn line(id: Uuid, event_type: &str, record: &str, cause: &str) -> String {
    format!("{id}  {event_type}  of {record}: {cause}").replace(char::is_control, " ")
}

/// How many there were.
async fn replay(crm: &Crm, chosen: Chosen) -> Result<u64, Failure> {
    let mut count = 0;
    for id in ids(crm, chosen).await? {
        count += u64::from(set_aside::replay(crm, id).await?);
    }
    if let Some(queue) = crm.queue() {
        count += queue.replay(EVENTS.group(HANDLERS)?, chosen.in_queue()).await?;
    }
    Ok(count)
}

/// How many there were.
async fn drop(crm: &Crm, chosen: Chosen) -> Result<u64, Failure> {
    let mut count = 0;
    for id in ids(crm, chosen).await? {
        count += u64::from(set_aside::drop(crm, id).await?);
    }
    if let Some(queue) = crm.queue() {
        count += queue.discard(EVENTS.group(HANDLERS)?, chosen.in_queue()).await?;
    }
    Ok(count)
}

/// Those that are set aside now, so that one that is again at once is not met again.
async fn ids(crm: &Crm, chosen: Chosen) -> Result<BTreeSet<EventId>, Failure> {
    if let Chosen::One(id) = chosen {
        return Ok([EventId(id)].into());
    }
    let mut ids = BTreeSet::new();
    loop {
        let page = set_aside::list(crm, ids.last().copied(), PAGE).await?;
        ids.extend(page.iter().map(|event| event.id));
        if page.len() < PAGE {
            return Ok(ids);
        }
    }
}
