//! The channel `email`: messages by a mail server (SMTP).
//!
//! A message is handed over command by command, so that it is known how far it got: only what breaks while the message
//! itself is on its way leaves in doubt whether the server has it.

mod compose;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use crm_core::{
    Crm,
    delivery::VendorMessageId,
    port::{Accepted, Channel, OutgoingMessage, SendFailure},
    secret::Secret,
};
use futures::{StreamExt as _, stream};
use lettre::{
    Address,
    message::Mailbox,
    transport::smtp::{
        Error as SmtpError,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
    },
};
use tokio::time::timeout;

/// What campaigns call it, and what names of its messages begin with.
const NAME: &str = "email";
/// Connections to the server at once.
const CONNECTIONS: usize = 4;
/// The port at which TLS begins at once.
const IMPLICIT_TLS: u16 = 465;
/// The longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 300;

/// A mail server, and whom mail is from.
#[derive(Clone, Debug)]
pub struct EmailOptions {
    /// Where the server is.
    pub host: String,
    /// Its port: at 465 TLS begins at once, at others by STARTTLS.
    pub port: u16,
    /// Whom it knows us by, with the password.
    pub credentials: Option<(String, Secret<String>)>,
    /// Whom mail is from, such as `Shop <news@example.com>`.
    pub from: String,
    /// Whether the connection must be encrypted.
    pub tls: bool,
    /// How long one message may take.
    pub timeout: Duration,
}

impl Default for EmailOptions {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 587,
            credentials: None,
            from: String::new(),
            tls: true,
            timeout: Duration::from_secs(25),
        }
    }
}

/// The options of a mail server cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct EmailOptionsError(String);

/// Whether mail can be from there.
///
/// # Errors
/// What is wrong, for a person.
pub fn check_mailbox(text: &str) -> Result<(), String> {
    text.parse::<Mailbox>().map(drop).map_err(|_| "must be an address such as Shop <news@example.com>".to_owned())
}

/// Messages by a mail server.
pub struct EmailChannel {
    options: EmailOptions,
    from: Mailbox,
    hello: ClientId,
}

impl fmt::Debug for EmailChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailChannel").field("options", &self.options).finish_non_exhaustive()
    }
}

/// How far a message got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The server has heard nothing of it.
    Before,
    /// The server looks at whom it is for.
    Recipient,
    /// It is on its way.
    Message,
}

impl EmailChannel {
    /// By a mail server. It need not be there yet.
    ///
    /// # Errors
    /// [`EmailOptionsError`] where there is no server, or `from` is no address.
    pub fn new(options: EmailOptions) -> Result<Self, EmailOptionsError> {
        if options.host.is_empty() {
            return Err(EmailOptionsError("a mail server must be named".to_owned()));
        }
        let from: Mailbox = options.from.parse().map_err(|_| {
            EmailOptionsError("mail must be from an address such as Shop <news@example.com>".to_owned())
        })?;
        let hello = ClientId::Domain(from.email.domain().to_owned());
        Ok(Self { options, from, hello })
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let options = &self.options;
        let tls = || TlsParameters::new(options.host.clone());
        let implicit = if options.tls && options.port == IMPLICIT_TLS { Some(tls()?) } else { None };
        let server = (options.host.as_str(), options.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(options.timeout), &self.hello, implicit, None).await?;
        if options.tls && !connection.is_encrypted() {
            connection.starttls(tls()?, &self.hello).await?;
        }
        if let Some((user, password)) = &options.credentials {
            let credentials = Credentials::new(user.clone(), password.expose().clone());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await?;
        }
        Ok(connection)
    }

    /// Hands messages over one after the other, by one connection where it holds.
    async fn hand_over(&self, messages: Vec<(usize, OutgoingMessage)>) -> Vec<(usize, Answer)> {
        let mut connection = None;
        let mut answers = Vec::with_capacity(messages.len());
        for (place, message) in messages {
            let answer = self.one(&mut connection, message).await;
            answers.push((place, answer));
        }
        if let Some(mut connection) = connection {
            // What was taken is taken, whatever the server says to this.
            let _ = timeout(Duration::from_secs(2), connection.quit()).await;
        }
        answers
    }

    async fn one(&self, connection: &mut Option<AsyncSmtpConnection>, message: OutgoingMessage) -> Answer {
        let id = VendorMessageId { channel: NAME, organization: message.organization, reference: message.reference }
            .to_string();
        let to: Address = match message.address.parse() {
            Ok(to) => to,
            Err(_) => return Err(SendFailure::Refused("The address is no e-mail address.".to_owned())),
        };
        let mail = compose::message(&self.from, &to, &id, &message).map_err(SendFailure::Refused)?;
        let mut phase = Phase::Before;
        let sent = timeout(self.options.timeout, self.talk(connection, &mut phase, to, &mail)).await;
        match sent {
            Ok(Ok(())) => Ok(Accepted { vendor_message_id: id }),
            failed => {
                *connection = None;
                Err(match failed {
                    Ok(Err(error)) => failure(phase, &error),
                    _ if phase == Phase::Message => {
                        SendFailure::Ambiguous("The mail server did not answer in time.".to_owned())
                    }
                    _ => SendFailure::not_sent("The mail server did not answer in time."),
                })
            }
        }
    }

    async fn talk(
        &self,
        slot: &mut Option<AsyncSmtpConnection>,
        phase: &mut Phase,
        to: Address,
        mail: &[u8],
    ) -> Result<(), SmtpError> {
        // Out of its place until it is known to hold.
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.command(Mail::new(Some(self.from.email.clone()), Vec::new())).await?;
        *phase = Phase::Recipient;
        connection.command(Rcpt::new(to, Vec::new())).await?;
        connection.command(Data).await?;
        *phase = Phase::Message;
        connection.message(mail).await?;
        *slot = Some(connection);
        Ok(())
    }
}

type Answer = Result<Accepted, SendFailure>;

/// What follows from what went wrong.
fn failure(phase: Phase, error: &SmtpError) -> SendFailure {
    let mut reason = error.to_string();
    reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
    match phase {
        Phase::Recipient if is_gone(error) => SendFailure::NoSuchAddress(reason),
        // What the server has against us it may have for a while only.
        Phase::Recipient | Phase::Message if error.is_permanent() => SendFailure::Refused(reason),
        Phase::Before | Phase::Recipient => SendFailure::not_sent(reason),
        Phase::Message if error.is_transient() => SendFailure::not_sent(reason),
        Phase::Message => SendFailure::Ambiguous(reason),
    }
}

/// Whether the server says of the recipient that there is nobody, and will not be (RFC 5321 section 4.2, RFC 3463): the
/// enhanced status decides where there is one. A full mailbox, or what the server has against us, is no such thing.
fn is_gone(error: &SmtpError) -> bool {
    let Some(code) = error.status() else { return false };
    if !matches!(u16::from(code), 550 | 551 | 553) {
        return false;
    }
    let told = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let enhanced = told.split_ascii_whitespace().next().and_then(|word| word.strip_prefix("5."));
    match enhanced.and_then(|rest| rest.split_once('.')) {
        // The address is bad, moved or of no mail server; that of whom it is from is our own.
        Some(("1", detail)) => !matches!(detail, "7" | "8"),
        Some(("2", detail)) => detail == "1",
        Some((subject, _)) if subject.bytes().all(|digit| digit.is_ascii_digit()) => false,
        _ => true,
    }
}

#[async_trait]
impl Channel for EmailChannel {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, crm: &Crm, message: OutgoingMessage) -> Answer {
        let answer = self.send_all(crm, vec![message]).await.pop();
        answer.unwrap_or_else(|| Err(SendFailure::not_sent("Nothing was handed over.")))
    }

    async fn send_all(&self, _: &Crm, messages: Vec<OutgoingMessage>) -> Vec<Answer> {
        let lanes = CONNECTIONS.min(messages.len().max(1));
        let mut shares: Vec<Vec<(usize, OutgoingMessage)>> = (0..lanes).map(|_| Vec::new()).collect();
        for (place, message) in messages.into_iter().enumerate() {
            if let Some(share) = shares.get_mut(place % lanes) {
                share.push((place, message));
            }
        }
        let handed = stream::iter(shares).map(|share| self.hand_over(share)).buffer_unordered(lanes);
        let mut answers: Vec<(usize, Answer)> = handed.flat_map(stream::iter).collect().await;
        answers.sort_unstable_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}
