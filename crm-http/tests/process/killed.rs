//! The process killed in the middle of writes.

use crate::{
    relay::rounds,
    support::{Engine, Importing, Place, Server, Writers, nothing_is_lost, on_every_engine},
};

/// How many writers there are at once.
const WRITERS: usize = 8;
/// How many customers each round waits for before the kill.
const ACKNOWLEDGED: usize = 150;
/// How many customers the file has for each round that is imported meanwhile.
const ROWS: usize = 667;

on_every_engine! {
    /// Writers create customers until the server is killed under them. Nothing that was acknowledged is lost, and of
    /// what was not, nothing is there by half. An import goes on where it was.
    async fn in_the_middle_of_writes(place: &Place) {
        let rounds = usize::try_from(rounds()).expect("a number of rounds");
        let mut acknowledged = std::collections::BTreeSet::new();
        let mut server = Server::start(place).await;
        server.register().await;
        let importing = Importing::start(&server, &server.log_in().await, rounds * ROWS).await;
        for round in 0..rounds {
            let token = server.log_in().await;
            let writers = Writers::start(&server, &token, &format!("r{round}"), WRITERS);
            writers.acknowledge(ACKNOWLEDGED, &server).await;
            server.process.kill().expect("killed");
            server.process.wait().expect("ended");
            acknowledged.append(&mut writers.stop().await);
            server = Server::start(place).await;
        }
        let token = server.log_in().await;
        // At most one request of each writer was in hand at each kill.
        nothing_is_lost(&server, &token, &acknowledged, rounds * WRITERS).await;
        importing.ends_well(&server, &token).await;
    }
}
