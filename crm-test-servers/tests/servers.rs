//! Servers start, are killed, come back, and are gone with their folder at the end.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::net::TcpStream;

use crm_test_servers::{Durability, Mongo, NoServer, Postgres, RabbitMq, Redis};

fn address(url: &str) -> String {
    let rest = url.split_once("://").unwrap().1;
    rest.split('/').next().unwrap().rsplit('@').next().unwrap().to_owned()
}

#[test]
fn postgres_starts_is_killed_comes_back_and_ends() -> Result<(), NoServer> {
    let mut server = Postgres::start(Durability::Full, &[])?;
    let address = address(&server.url("postgres"));
    server.create_database("crm")?;
    for _ in 0..3 {
        assert!(TcpStream::connect(&address).is_ok());
        server.kill()?;
        assert!(TcpStream::connect(&address).is_err());
        server.start_again()?;
    }
    assert!(server.create_database("crm").is_err(), "it is there still, and the server answers");
    drop(server);
    assert!(TcpStream::connect(&address).is_err());
    Ok(())
}

#[test]
fn mongo_starts_is_killed_comes_back_and_ends() -> Result<(), NoServer> {
    let mut server = Mongo::start_own(Durability::Full)?;
    let address = address(&server.url("anything"));
    for _ in 0..3 {
        assert!(TcpStream::connect(&address).is_ok());
        server.kill()?;
        assert!(TcpStream::connect(&address).is_err());
        server.start_again()?;
    }
    assert!(TcpStream::connect(&address).is_ok());
    drop(server);
    assert!(TcpStream::connect(&address).is_err());
    Ok(())
}

#[test]
fn redis_starts_is_killed_comes_back_and_ends() -> Result<(), NoServer> {
    let mut server = Redis::start(Durability::Full)?;
    let address = address(&server.url(0));
    for _ in 0..3 {
        assert!(TcpStream::connect(&address).is_ok());
        server.kill()?;
        assert!(TcpStream::connect(&address).is_err());
        server.start_again()?;
    }
    drop(server);
    assert!(TcpStream::connect(&address).is_err());
    Ok(())
}

#[test]
fn rabbitmq_starts_is_killed_comes_back_and_ends() -> Result<(), NoServer> {
    let mut server = RabbitMq::start()?;
    let address = address(&server.url());
    assert!(TcpStream::connect(&address).is_ok());
    server.kill()?;
    assert!(TcpStream::connect(&address).is_err());
    server.start_again()?;
    assert!(TcpStream::connect(&address).is_ok());
    drop(server);
    assert!(TcpStream::connect(&address).is_err());
    Ok(())
}
