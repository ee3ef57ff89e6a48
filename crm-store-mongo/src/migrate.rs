//! Bringing a database to the declarations.
//!
//! A document that expires is the lock: programs that start at once come one after the other, and one that dies while it
//! holds the lock lets it go by itself. Every step can be done again, so a start that was interrupted goes on.

use std::time::Duration;

use bson::{Bson, Document, doc, oid::ObjectId};
use crm_core::store::{Collection, FieldKind, Progress, StoreError, StoreResult, Value, evaluate::check_collection};
use futures::TryStreamExt as _;
use mongodb::{Collection as Documents, Database, error::Error};
use tokio::time::Instant;

use crate::{
    failure,
    layout::Layout,
    row, schema, search,
    session::{Pause, is_past},
    store::MongoStore,
};

/// Where the database keeps what it is: the version, what is declared, and the lock.
const SCHEMA: &str = "crm_schema";
/// How long the lock lasts if its holder does not say that it is still there.
const LEASE: Duration = Duration::from_secs(20);
/// How often the holder says so.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// How long to wait for another program that brings the database up to date.
const PATIENCE: Duration = Duration::from_secs(600);
/// The oldest wire version that will do: that of MongoDB 6.0.
const WIRE_VERSION: i64 = 17;
/// How many records get their shadows at a time.
const BATCH: usize = 500;

/// Whether a server can be used, by its answer to `hello`.
///
/// # Errors
/// [`StoreError::Unusable`] for one that is too old or stands alone.
pub(crate) fn check_server(at: &str, hello: &Document) -> StoreResult<()> {
    let wire_version = hello.get("maxWireVersion").and_then(whole).unwrap_or(0);
    if wire_version < WIRE_VERSION {
        return Err(StoreError::Unusable(format!("the server at {at} is too old: MongoDB 6.0 or newer is needed")));
    }
    let in_set = hello.contains_key("setName");
    let routed = hello.get_str("msg").is_ok_and(|message| message == "isdbgrid");
    if in_set || routed {
        return Ok(());
    }
    Err(StoreError::Unusable(format!(
        "the server at {at} stands alone, and only a replica set has transactions. Make it a replica set of one, which \
         keeps its data: start it with `mongod --replSet rs0` (or `replication.replSetName: rs0` in mongod.conf), then run \
         `mongosh --eval 'rs.initiate()'` once, and write ?replicaSet=rs0 behind the database in the URL"
    )))
}

fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(value) => Some(i64::from(*value)),
        Bson::Int64(value) => Some(*value),
        _ => None,
    }
}

/// Refuses a database that a newer program wrote.
pub(crate) async fn check_version(store: &MongoStore) -> StoreResult<()> {
    let at = &store.options.at;
    let version = schema_of(&store.database).find_one(doc! { "_id": "version" }).await;
    let version = version.map_err(|error| failure::starting(at, error))?;
    let found = version.and_then(|version| version.get("version").and_then(whole)).unwrap_or(0);
    if found > schema::VERSION {
        return Err(StoreError::Unusable(format!(
            "{at} was written by a newer program (its schema is {found}, this program knows {}): start the newer \
             program, or restore a backup from before it; nothing was changed",
            schema::VERSION
        )));
    }
    Ok(())
}

fn schema_of(database: &Database) -> Documents<Document> {
    database.collection(SCHEMA)
}

pub(crate) async fn migrate(
    store: &MongoStore,
    collections: &'static [&'static Collection],
    progress: Progress<'_>,
) -> StoreResult<()> {
    for collection in collections {
        check_collection(collection)?;
    }
    check_version(store).await?;
    let lock = Lock { documents: schema_of(&store.database), holder: ObjectId::new(), at: &store.options.at };
    lock.take(progress).await?;
    let run = Run { store, progress };
    let done = tokio::select! {
        done = run.all(collections) => done,
        lost = lock.keep() => Err(lost),
    };
    lock.release().await;
    done
}

/// The lock on the schema.
struct Lock<'a> {
    documents: Documents<Document>,
    holder: ObjectId,
    at: &'a str,
}

impl Lock<'_> {
    /// Waits until nobody else holds the lock, and takes it.
    async fn take(&self, progress: Progress<'_>) -> StoreResult<()> {
        let starting = |error| failure::starting(self.at, error);
        let free = doc! { "$setOnInsert": { "until": bson::DateTime::from_millis(0) } };
        match self.documents.update_one(doc! { "_id": "lock" }, free).upsert(true).await {
            // Another start made it between the look and the write.
            Err(error) if !failure::is_duplicate(&error) => return Err(starting(error)),
            _ => {}
        }
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Pause::default();
        // The clock of the server is everybody's.
        let expired = doc! { "_id": "lock", "$expr": { "$lte": ["$until", "$$NOW"] } };
        while !self.hold(expired.clone()).await.map_err(starting)? {
            if is_past(deadline) {
                return Err(StoreError::Unusable(format!(
                    "another program has been bringing {} up to date for {} minutes: wait for it, or stop it, and start \
                     again",
                    self.at,
                    PATIENCE.as_secs() / 60
                )));
            }
            progress("waiting for another start", 0, 1);
            pause.wait().await;
        }
        Ok(())
    }

    /// Holds the lock for another while, if the filter finds it.
    async fn hold(&self, filter: Document) -> Result<bool, Error> {
        let lease = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        let hold = doc! { "$set": { "holder": self.holder, "until": { "$add": ["$$NOW", lease] } } };
        Ok(self.documents.update_one(filter, vec![hold]).await?.matched_count > 0)
    }

    /// Says again and again that the holder is alive; ends only when the lock is lost.
    async fn keep(&self) -> StoreError {
        loop {
            tokio::time::sleep(SIGN_OF_LIFE).await;
            match self.hold(doc! { "_id": "lock", "holder": self.holder }).await {
                Ok(true) => {}
                Ok(false) => return failure::unavailable("another program brings the database up to date", 5),
                Err(error) => return failure::starting(self.at, error),
            }
        }
    }

    /// Lets go. Where that fails the lock ends by itself.
    async fn release(&self) {
        let free = doc! { "$set": { "until": bson::DateTime::from_millis(0) }, "$unset": { "holder": "" } };
        if let Err(error) = self.documents.update_one(doc! { "_id": "lock", "holder": self.holder }, free).await {
            tracing::debug!(%error, "the lock on the schema is left to end by itself");
        }
    }
}

struct Run<'a> {
    store: &'a MongoStore,
    progress: Progress<'a>,
}

impl Run<'_> {
    async fn all(&self, collections: &'static [&'static Collection]) -> StoreResult<()> {
        // The database may have changed between the look and the lock.
        check_version(self.store).await?;
        let total = collections.len() as u64;
        for (done, collection) in collections.iter().enumerate() {
            (self.progress)(collection.name, done as u64, total);
            self.collection(&self.store.layouts.of(collection)).await?;
        }
        let version =
            doc! { "$set": { "version": schema::VERSION }, "$setOnInsert": { "began_at": bson::DateTime::now() } };
        let numbered =
            schema_of(&self.store.database).update_one(doc! { "_id": "version" }, version).upsert(true).await;
        numbered.map_err(|error| self.starting(error))?;
        (self.progress)("schema", total, total);
        Ok(())
    }

    fn starting(&self, error: Error) -> StoreError {
        failure::starting(&self.store.options.at, error)
    }

    async fn collection(&self, layout: &Layout) -> StoreResult<()> {
        match self.store.database.create_collection(layout.collection.name).await {
            Err(error) if !failure::is_there(&error) => return Err(self.starting(error)),
            _ => {}
        }
        self.fields(layout).await?;
        let indexes = schema::indexes(layout);
        if indexes.is_empty() {
            return Ok(());
        }
        let whole = doc! { "createIndexes": layout.collection.name, "indexes": indexes.clone() };
        match self.store.database.run_command(whole).await {
            Ok(_) => Ok(()),
            Err(error) if failure::is_other_index(&error) => {
                for index in indexes {
                    self.index(layout, index).await?;
                }
                Ok(())
            }
            Err(error) => Err(self.cannot_index(layout, error)),
        }
    }

    /// Makes one index; one of the name that is another is dropped first.
    async fn index(&self, layout: &Layout, index: Document) -> StoreResult<()> {
        let name = index.get_str("name").map_err(StoreError::engine)?.to_owned();
        let command = doc! { "createIndexes": layout.collection.name, "indexes": [index] };
        match self.store.database.run_command(command.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if !failure::is_other_index(&error) => return Err(self.cannot_index(layout, error)),
            Err(_) => {}
        }
        (self.progress)(&name, 0, 1);
        self.store.collection(layout.collection).drop_index(name).await.map_err(|error| self.starting(error))?;
        self.store.database.run_command(command).await.map_err(|error| self.cannot_index(layout, error))?;
        Ok(())
    }

    fn cannot_index(&self, layout: &Layout, error: Error) -> StoreError {
        match failure::writing(layout.collection, error) {
            StoreError::Duplicate { collection, key, .. } => StoreError::Unusable(format!(
                "{}: records of {collection} share the unique key {key}, so it cannot be kept: change or remove one of \
                 them, and start again",
                self.store.options.at
            )),
            other => other,
        }
    }

    /// Brings the records that are there to the declared fields, by what is noted of the last time.
    async fn fields(&self, layout: &Layout) -> StoreResult<()> {
        let notes = schema_of(&self.store.database);
        let id = doc! { "_id": format!("collection:{}", layout.collection.name) };
        let declared = note(layout);
        let noted = notes.find_one(id.clone()).await.map_err(|error| self.starting(error))?;
        if let Some(noted) = noted {
            let kinds = noted.get_document("fields").cloned().unwrap_or_default();
            for field in layout.collection.fields {
                match kinds.get_str(field.name) {
                    Ok(kind) if kind == kind_name(field.kind) => {}
                    Ok(kind) => return Err(self.cannot(layout, field.name, &format!("holds {kind} in the database"))),
                    Err(_) if field.optional => {}
                    Err(_) => self.default(layout, field.name, field.kind).await?,
                }
            }
            if noted.get("beside") != declared.get("beside") {
                self.shadows(layout).await?;
            }
            if noted.get("fields") == declared.get("fields") && noted.get("beside") == declared.get("beside") {
                return Ok(());
            }
        }
        notes.update_one(id, doc! { "$set": declared }).upsert(true).await.map_err(|error| self.starting(error))?;
        Ok(())
    }

    fn cannot(&self, layout: &Layout, field: &str, why: &str) -> StoreError {
        StoreError::Unusable(format!(
            "{}: the field {}.{field} {why}, and this program has no migration for that; nothing of it was changed",
            self.store.options.at, layout.collection.name
        ))
    }

    /// Gives the records that are there a value of a field that is new and never missing.
    async fn default(&self, layout: &Layout, field: &str, kind: FieldKind) -> StoreResult<()> {
        let collection = self.store.collection(layout.collection);
        let Some(value) = row::default_of(kind) else {
            let any = collection.find_one(doc! { field: { "$exists": false } }).await;
            return match any.map_err(|error| self.starting(error))? {
                Some(_) => Err(self.cannot(layout, field, "has no value for the records that are there")),
                None => Ok(()),
            };
        };
        let value = row::to_bson(&value)?.unwrap_or(Bson::Null);
        let filled =
            collection.update_many(doc! { field: { "$exists": false } }, doc! { "$set": { field: value } }).await;
        filled.map(|_| ()).map_err(|error| self.starting(error))
    }

    /// Writes anew what is kept beside the fields of every record.
    async fn shadows(&self, layout: &Layout) -> StoreResult<()> {
        let name = layout.collection.name;
        let collection = self.store.collection(layout.collection);
        let total = collection.estimated_document_count().await.map_err(|error| self.starting(error))?;
        let projection = layout.projection.iter().filter(|(name, _)| *name != "_id");
        let projection: Document = projection.map(|(name, value)| (name.clone(), value.clone())).collect();
        let all = collection.find(doc! {}).sort(doc! { "_id": 1 }).projection(projection).batch_size(500);
        let mut all = all.await.map_err(|error| self.starting(error))?;
        let mut done = 0;
        while let Some(document) = all.try_next().await.map_err(|error| self.starting(error))? {
            let row = row::decode(layout.collection.fields, &document)?;
            let mut set = Document::new();
            for (position, shadow) in &layout.shadows {
                let value = row.0.get(*position).unwrap_or(&Value::Null);
                if let (_, Some(shadowed)) = row::with_shadow(value, Some(*shadow))? {
                    set.insert(shadow.name(layout.collection.fields[*position].name), shadowed);
                }
            }
            if !layout.searched.is_empty() {
                set.insert(search::TRIGRAMS, search::trigrams_of(layout, &row));
            }
            let id = document.get("_id").map_err(StoreError::engine)?.map(Bson::try_from);
            if let (Some(Ok(id)), false) = (id, set.is_empty()) {
                // Of a record that changes meanwhile the other program writes what belongs beside it.
                let same = doc! { "_id": id, "version": row.version() };
                collection.update_one(same, doc! { "$set": set }).await.map_err(|error| self.starting(error))?;
            }
            done += 1;
            if done % BATCH as u64 == 0 {
                (self.progress)(name, done, total);
            }
        }
        Ok(())
    }
}

/// What is noted of a collection's declaration.
fn note(layout: &Layout) -> Document {
    let fields: Document = layout
        .collection
        .fields
        .iter()
        .map(|field| (field.name.to_owned(), Bson::String(kind_name(field.kind).to_owned())))
        .collect();
    let shadows = layout.shadows.iter().map(|(position, shadow)| shadow.name(layout.collection.fields[*position].name));
    let shadows: Vec<String> = shadows.collect();
    doc! { "fields": fields, "beside": { "shadows": shadows, "searched": layout.collection.search.to_vec() } }
}

const fn kind_name(kind: FieldKind) -> &'static str {
    match crate::json::way(kind) {
        Some(name) => name,
        None => "json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(hello: &Document) -> String {
        match check_server("db.example.com:27017/crm", hello) {
            Err(StoreError::Unusable(sentence)) => sentence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn servers_that_have_transactions_will_do() {
        check_server("", &doc! { "maxWireVersion": 17, "setName": "rs0" }).unwrap();
        check_server("", &doc! { "maxWireVersion": 25_i64, "msg": "isdbgrid" }).unwrap();
    }

    #[test]
    fn a_server_that_stands_alone_is_told_how_to_become_a_set() {
        let said = sentence(&doc! { "maxWireVersion": 21, "isWritablePrimary": true });
        assert!(said.contains("--replSet") && said.contains("rs.initiate()") && said.contains("replicaSet="), "{said}");
    }

    #[test]
    fn an_old_server_is_refused() {
        for hello in [doc! { "maxWireVersion": 13, "setName": "rs0" }, doc! {}] {
            assert!(sentence(&hello).contains("6.0 or newer"));
        }
    }
}
