//! The channel `webhook`: messages are posted to an address of the organization's own, which passes them on.

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::VendorMessageId;
use crate::{
    crm::Crm,
    id::OrganizationId,
    port::{Accepted, Channel, OutboundAnswer, OutboundFailure, OutboundRequest, OutgoingMessage, SendFailure},
    secret::Secret,
    time::Timestamp,
};

const NAME: &str = "webhook";
/// The longest name that a receiver may give a message, in bytes.
const LONGEST_ID: usize = 200;

/// Posts messages, signed by the rules of Standard Webhooks. A receiver that gives a message a name in its answer
/// (`{"vendor_message_id":"…"}`) says so in its receipts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WebhookChannel;

#[async_trait]
impl Channel for WebhookChannel {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ready(&self, crm: &Crm, organization: OrganizationId) -> Result<(), String> {
        let Some(outbound) = crm.outbound() else {
            return Err("This installation sends nothing to addresses outside.".to_owned());
        };
        let url = address(crm, organization).await.map_err(|failure| failure.to_string())?;
        outbound.check(&url).await.map_err(|failure| failure.to_string())
    }

    async fn send(&self, crm: &Crm, message: OutgoingMessage) -> Result<Accepted, SendFailure> {
        let Some(outbound) = crm.outbound() else {
            return Err(SendFailure::not_sent("This installation sends nothing to addresses outside."));
        };
        let url = address(crm, message.organization).await?;
        let id = message.reference.to_string();
        let timestamp = crm.now().as_milliseconds().div_euclid(1000);
        let body = body_of(&message, crm.now());
        let secrets = crm.deliveries().organization_secrets(message.organization);
        let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(&id, timestamp, &body)).collect();
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("webhook-id", id),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ];
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), Secret::new(value))).collect();
        let answer = outbound.post(OutboundRequest { url, headers, body: Bytes::from(body) }).await;
        let own = VendorMessageId { channel: NAME, organization: message.organization, reference: message.reference };
        outcome(answer, crm.now()).map(|given| Accepted { vendor_message_id: given.unwrap_or_else(|| own.to_string()) })
    }
}

async fn address(crm: &Crm, organization: OrganizationId) -> Result<String, SendFailure> {
    let by = crate::access::Principal::system(organization);
    let settings = crm.organizations().settings(&by).await;
    let settings = settings.map_err(|error| SendFailure::not_sent(error.to_string()))?;
    let url = settings.messaging.as_ref().and_then(|messaging| messaging.webhook_url.clone());
    url.ok_or_else(|| {
        let message = "The channel webhook has no address: name one as messaging.webhook_url of the organization.";
        SendFailure::not_sent(message)
    })
}

fn body_of(message: &OutgoingMessage, now: Timestamp) -> String {
    json!({
        "type": "message.send",
        "timestamp": now,
        "data": {
            "reference": message.reference,
            "campaign_id": message.campaign,
            "customer_id": message.customer,
            "address": message.address,
            "subject": message.subject,
            "message": message.text,
            "template": message.template,
            "topic": message.topic,
            "unsubscribe_url": message.unsubscribe_url,
        },
    })
    .to_string()
}

/// What follows from an answer: the receiver's own name of the message, where it has one.
fn outcome(answer: Result<OutboundAnswer, OutboundFailure>, now: Timestamp) -> Result<Option<String>, SendFailure> {
    #[derive(Deserialize)]
    struct Named {
        vendor_message_id: String,
    }
    match answer {
        Ok(answer) => match answer.status {
            200..=299 => {
                let named = serde_json::from_slice::<Named>(&answer.body).ok().map(|named| named.vendor_message_id);
                let fits = |name: &String| {
                    (1..=LONGEST_ID).contains(&name.len()) && name.chars().all(|character| !character.is_control())
                        // A name of ours would be taken for another message.
                        && VendorMessageId::read(name).is_none()
                };
                Ok(named.map(|name| name.trim().to_owned()).filter(fits))
            }
            408 | 425 | 429 | 503 => Err(SendFailure::NotSent {
                reason: format!("The receiver answered {}.", answer.status),
                retry_after: answer.retry_after.map(|after| after.from(now)),
            }),
            300..=499 => Err(SendFailure::Refused(format!("The receiver answered {}.", answer.status))),
            status => Err(SendFailure::Ambiguous(format!("The receiver answered {status}."))),
        },
        Err(OutboundFailure::Refused(reason)) => Err(SendFailure::Refused(reason)),
        Err(OutboundFailure::Unreachable(reason)) => Err(SendFailure::not_sent(reason)),
        Err(failure) => Err(SendFailure::Ambiguous(failure.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::port::RetryAfter;

    #[test]
    fn only_what_is_certain_is_sent_again_or_given_up() {
        let answer = |status: u16, body: &str| {
            let retry_after = Some(RetryAfter::In(Duration::from_secs(7)));
            outcome(Ok(OutboundAnswer { status, retry_after, body: body.as_bytes().to_vec() }), Timestamp::default())
        };
        assert_eq!(answer(202, "{\"vendor_message_id\":\" m-1 \",\"x\":1}"), Ok(Some("m-1".to_owned())));
        let ours = VendorMessageId {
            channel: "mock",
            organization: OrganizationId(uuid::Uuid::nil()),
            reference: uuid::Uuid::nil(),
        };
        for body in ["", "{}", "[1]", "{\"vendor_message_id\":\"\"}", &format!("{{\"vendor_message_id\":\"{ours}\"}}")]
        {
            assert_eq!(answer(200, body), Ok(None), "{body}");
        }
        let waits = |failure| matches!(failure, Err(SendFailure::NotSent { .. }));
        assert_eq!(
            answer(429, ""),
            Err(SendFailure::NotSent {
                reason: "The receiver answered 429.".to_owned(),
                retry_after: Some(Duration::from_secs(7))
            })
        );
        assert!(waits(answer(503, "")));
        for status in [301, 400, 404, 410] {
            assert!(matches!(answer(status, ""), Err(SendFailure::Refused(_))), "{status}");
        }
        for status in [500, 502, 504] {
            assert!(matches!(answer(status, ""), Err(SendFailure::Ambiguous(_))), "{status}");
        }
        let failed = |failure| outcome(Err(failure), Timestamp::default());
        assert!(waits(failed(OutboundFailure::Unreachable("no".to_owned()))));
        assert!(matches!(failed(OutboundFailure::Refused("no".to_owned())), Err(SendFailure::Refused(_))));
        assert!(matches!(failed(OutboundFailure::TimedOut), Err(SendFailure::Ambiguous(_))));
        assert!(matches!(failed(OutboundFailure::Broken("cut".to_owned())), Err(SendFailure::Ambiguous(_))));
    }
}
