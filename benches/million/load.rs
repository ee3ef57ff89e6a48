//! A client that costs little beside the servers: requests written whole, answers read by their length.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// What is asked of a server, again and again.
pub(crate) struct Load {
    /// `127.0.0.1:40123`.
    pub(crate) address: String,
    /// Makes the request with this number.
    pub(crate) request: Arc<dyn Fn(usize) -> Vec<u8> + Send + Sync>,
    /// The status that every answer must have.
    pub(crate) status: u16,
}

/// How it went.
#[derive(Clone)]
pub(crate) struct Outcome {
    pub(crate) per_second: f64,
    /// Sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Outcome {
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.latencies[(self.latencies.len() * percent / 100).min(self.latencies.len() - 1)]
    }
}

impl Load {
    /// Keeps so many connections busy until the time is over. Numbers go on from `first`.
    pub(crate) async fn run(&self, connections: usize, time: Duration, first: &Arc<AtomicUsize>) -> Outcome {
        let begin = Instant::now();
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                let (address, request, first) = (self.address.clone(), Arc::clone(&self.request), Arc::clone(first));
                let wanted = self.status;
                tokio::spawn(async move {
                    let mut connection = Connection::open(&address).await;
                    let mut latencies = Vec::new();
                    while begin.elapsed() < time {
                        let request = request(first.fetch_add(1, Ordering::Relaxed));
                        let asked = Instant::now();
                        let status = connection.exchange(&request).await;
                        latencies.push(asked.elapsed());
                        assert_eq!(status, wanted, "{}", String::from_utf8_lossy(&connection.buffer));
                    }
                    latencies
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for client in clients {
            latencies.extend(client.await.unwrap());
        }
        let per_second = latencies.len() as f64 / begin.elapsed().as_secs_f64();
        latencies.sort();
        Outcome { per_second, latencies }
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(64 * 1024) }
    }

    /// Sends a request and reads the answer to its end. Both servers tell the length.
    async fn exchange(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.unwrap();
        self.buffer.clear();
        let mut end = None;
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
            assert!(read > 0, "the server closed the connection");
            if end.is_none()
                && let Some(head) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n")
            {
                let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
                let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap_or("0");
                end = Some(head + 4 + length.trim().parse::<usize>().unwrap());
            }
            if end.is_some_and(|end| self.buffer.len() >= end) {
                return std::str::from_utf8(&self.buffer[9..12]).unwrap().parse().unwrap();
            }
        }
    }
}

/// A request with this method, target and body, as a signed-in client.
pub(crate) fn request(method: &str, target: &str, token: &str, body: &str) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n");
    if !body.is_empty() {
        head.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    head.push_str(body);
    head.into_bytes()
}
