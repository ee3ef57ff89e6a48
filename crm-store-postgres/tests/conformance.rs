//! The suite that every store passes, on databases that are thrown away with their server.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "support/database.rs"]
mod database;

use std::sync::{Arc, Mutex};

use crm_core::{conformance::Opener, store::SharedStore};
use crm_store_postgres::{PostgresOptions, PostgresStore};
use sqlx::Executor as _;
use tokio::runtime::Handle;

/// Makes the statement behind so many end as a full disk would end it; rows are counted once more at the end of a commit.
/// A sequence counts also what is taken back, so what comes after that is let through.
const FAIL: &str = "
    DROP SEQUENCE IF EXISTS made;
    CREATE SEQUENCE made MINVALUE 0;
    CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF nextval('made') = CHANGES THEN RAISE 'no space left on device' USING ERRCODE = 'disk_full'; END IF;
      RETURN NEW;
    END $$;
    DO $$ DECLARE name text; BEGIN
      FOREACH name IN ARRAY ARRAY['conformance_keyed', 'conformance_tasks'] LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS fail_between ON %I', name);
        EXECUTE format('DROP TRIGGER IF EXISTS fail_at_end ON %I', name);
        EXECUTE format('CREATE TRIGGER fail_between BEFORE INSERT OR UPDATE OR DELETE ON %I
          FOR EACH STATEMENT EXECUTE FUNCTION fail()', name);
        EXECUTE format('CREATE CONSTRAINT TRIGGER fail_at_end AFTER INSERT OR UPDATE OR DELETE ON %I
          DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()', name);
      END LOOP;
    END $$";

/// The URL of the database that was opened last.
#[derive(Default)]
struct Databases(Mutex<String>);

async fn open(url: &str) -> SharedStore {
    Arc::new(PostgresStore::connect_with(PostgresOptions::parse(url).unwrap().pool(12)).await.unwrap())
}

impl Opener for Databases {
    async fn open(&self) -> SharedStore {
        let url = database::create().await;
        let store = open(&url).await;
        *self.0.lock().unwrap() = url;
        store
    }

    async fn reopen(&self, store: SharedStore) -> Option<SharedStore> {
        store.close().await;
        let url = self.0.lock().unwrap().clone();
        Some(open(&url).await)
    }

    fn fail_next_commit(&self, changes: usize) -> bool {
        let url = self.0.lock().unwrap().clone();
        let sql = sqlx::AssertSqlSafe(FAIL.replace("CHANGES", &changes.to_string()));
        let prepare = async { database::raw(&url).await.execute(sqlx::raw_sql(sql)).await.map(|_| ()) };
        tokio::task::block_in_place(|| Handle::current().block_on(prepare)).unwrap();
        true
    }
}

crm_core::conformance_suite!(open = Databases::default());
