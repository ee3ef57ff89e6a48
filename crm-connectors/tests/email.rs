//! Mail leaves by a server that misbehaves, and it is known each time whether the server has it.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it should be")]

use std::sync::{Arc, Mutex};

use crm_connectors::{EmailChannel, EmailOptions, check_mailbox};
use crm_core::{
    Crm,
    id::{CustomerId, OrganizationId},
    port::{Accepted, Channel as _, OutgoingMessage, SendFailure},
    secret::Secret,
    store::memory::MemoryStore,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// What a server says to a recipient, and to the end of a message.
#[derive(Clone, Copy, Debug)]
enum Script {
    Takes,
    Says {
        recipient: &'static str,
        end: &'static str,
    },
    /// The connection breaks once the message is there.
    Breaks,
    /// Nobody is let in.
    Closed,
}

/// A mail server that keeps what it takes.
struct Server {
    port: u16,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let taken: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script, Arc::clone(&kept)));
            }
        });
        Self { port, taken }
    }

    fn channel(&self) -> EmailChannel {
        let options = EmailOptions {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            credentials: Some(("shop".to_owned(), Secret::new("secret".to_owned()))),
            from: "Shop <news@shop.example>".to_owned(),
            tls: false,
            ..EmailOptions::default()
        };
        EmailChannel::new(options).expect("options")
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().expect("nobody panicked").clone()
    }
}

async fn serve(stream: TcpStream, script: Script, taken: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    if matches!(script, Script::Closed) {
        write.write_all(b"554 closed\r\n").await.ok()?;
        return None;
    }
    write.write_all(b"220 hello\r\n").await.ok()?;
    while let Some(line) = lines.next_line().await.ok()? {
        let answer = match line.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => "250-hello\r\n250 AUTH PLAIN",
            "AUTH" => "235 in",
            "RCPT" => match script {
                Script::Says { recipient, .. } => recipient,
                _ => "250 ok",
            },
            "DATA" => {
                write.write_all(b"354 go on\r\n").await.ok()?;
                let mut mail = String::new();
                while let Some(line) = lines.next_line().await.ok()? {
                    if line == "." {
                        break;
                    }
                    mail.push_str(&line);
                    mail.push('\n');
                }
                taken.lock().expect("nobody panicked").push(mail);
                match script {
                    Script::Breaks => return None,
                    Script::Says { end, .. } => end,
                    _ => "250 taken",
                }
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
    }
    None
}

fn message(number: u128, address: &str) -> OutgoingMessage {
    OutgoingMessage {
        reference: uuid::Uuid::from_u128(number),
        organization: OrganizationId::INSTALLATION,
        campaign: None,
        customer: CustomerId(uuid::Uuid::from_u128(number)),
        address: address.to_owned(),
        subject: Some(format!("Message {number}")),
        text: "Hello.\n.\nA dot alone.".to_owned(),
        html: false,
        template: None,
        topic: None,
        unsubscribe_url: None,
    }
}

fn crm() -> Crm {
    Crm::builder(Arc::new(MemoryStore::new())).build()
}

async fn answer(script: Script) -> (Result<Accepted, SendFailure>, usize) {
    let server = Server::start(script).await;
    let answer = server.channel().send(&crm(), message(1, "kim@example.com")).await;
    (answer, server.taken().len())
}

#[tokio::test]
async fn mail_is_taken() {
    let server = Server::start(Script::Takes).await;
    let messages: Vec<OutgoingMessage> =
        (1..=9).map(|number| message(number, "kim@example.com")).chain([message(10, "nobody")]).collect();
    let answers = server.channel().send_all(&crm(), messages).await;
    assert_eq!(answers.len(), 10);
    for answer in &answers[..9] {
        assert!(matches!(answer, Ok(Accepted { vendor_message_id }) if vendor_message_id.starts_with("email_")));
    }
    assert!(matches!(&answers[9], Err(SendFailure::Refused(_))), "no address");
    let taken = server.taken();
    assert_eq!(taken.len(), 9);
    for (place, answer) in answers[..9].iter().enumerate() {
        let Ok(accepted) = answer else { panic!("taken") };
        let mail = taken.iter().find(|mail| mail.contains(&format!("Subject: Message {}\n", place + 1)));
        let mail = mail.expect("each message once");
        assert!(mail.contains(&format!("Message-ID: <{}@shop.example>", accepted.vendor_message_id)), "{mail}");
        assert!(mail.contains("\n..\n"), "a dot alone ends no message: {mail}");
    }
}

#[tokio::test]
async fn it_is_known_whether_the_server_has_it() {
    for (recipient, end, taken, expected) in [
        ("550 nobody here", "250 taken", 0, "gone"),
        ("550 5.1.1 <kim@example.com>: nobody here", "250 taken", 0, "gone"),
        ("550-5.1.1 nobody here,\r\n550 5.1.1 since long", "250 taken", 0, "gone"),
        ("551 5.1.6 moved", "250 taken", 0, "gone"),
        ("550 5.2.1 closed for good", "250 taken", 0, "gone"),
        ("550 5.7.1 not from you", "250 taken", 0, "refused"),
        ("550 5.1.8 from nowhere", "250 taken", 0, "refused"),
        ("552 5.2.2 full", "250 taken", 0, "refused"),
        ("554 no", "250 taken", 0, "refused"),
        ("451 later", "250 taken", 0, "not sent"),
        ("250 ok", "550 5.7.1 spam", 1, "refused"),
        ("250 ok", "554 spam", 1, "refused"),
        ("250 ok", "452 full", 1, "not sent"),
    ] {
        let (answer, kept) = answer(Script::Says { recipient, end }).await;
        let told = match answer {
            Err(SendFailure::NoSuchAddress(_)) => "gone",
            Err(SendFailure::Refused(_)) => "refused",
            Err(SendFailure::NotSent { .. }) => "not sent",
            _ => "something else",
        };
        assert_eq!(told, expected, "{recipient} {end}");
        assert_eq!(kept, taken, "{recipient} {end}");
    }
    let (broken, _) = answer(Script::Breaks).await;
    assert!(matches!(broken, Err(SendFailure::Ambiguous(_))), "{broken:?}");
    let (closed, _) = answer(Script::Closed).await;
    assert!(matches!(closed, Err(SendFailure::NotSent { .. })), "{closed:?}");
    let nobody = {
        let server = Server::start(Script::Takes).await;
        let options = EmailOptions {
            host: "127.0.0.1".to_owned(),
            port: server.port,
            from: "news@shop.example".to_owned(),
            ..EmailOptions::default()
        };
        let channel = EmailChannel::new(options).expect("options");
        channel.send(&crm(), message(1, "kim@example.com")).await
    };
    assert!(matches!(nobody, Err(SendFailure::NotSent { .. })), "a server without TLS is told nothing: {nobody:?}");
}

#[test]
fn options_are_checked_and_secrets_are_not_shown() {
    assert!(check_mailbox("Shop <news@example.com>").is_ok());
    for wrong in ["", "Shop", "a@b@c", "x\r\ny@z.example"] {
        assert!(check_mailbox(wrong).is_err(), "{wrong}");
    }
    let from = || "news@shop.example".to_owned();
    assert!(EmailChannel::new(EmailOptions { from: from(), ..EmailOptions::default() }).is_err());
    assert!(EmailChannel::new(EmailOptions { host: "mail".to_owned(), ..EmailOptions::default() }).is_err());
    let credentials = Some(("shop".to_owned(), Secret::new("hunter2".to_owned())));
    let options = EmailOptions { host: "mail".to_owned(), from: from(), credentials, ..EmailOptions::default() };
    assert!(!format!("{:?}", EmailChannel::new(options).expect("options")).contains("hunter2"));
}
