use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::{
    ConsentRule, MessagingSettings, Receipt, ReceiptStatus, Receipts, SuppressionReason, VendorMessageId, allows,
    receipt::settled,
};
use crate::{
    campaign::{CampaignChannel, Communication, CommunicationStage, CommunicationStatus},
    customer::{Consent, Consents},
    id::OrganizationId,
    input::FromInput as _,
    record::Meta,
    text::Line,
    time::Timestamp,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_milliseconds(1_780_000_000_000 + seconds * 1000).expect("an instant")
}

fn message(status: CommunicationStatus) -> Communication {
    let id = Uuid::from_u128;
    let sent = status == CommunicationStatus::Sent;
    Communication {
        id: id(3).into(),
        campaign_id: id(2).into(),
        customer_id: id(4).into(),
        channel: CampaignChannel::Mock,
        variant: None,
        sequence: 1,
        address: String::new(),
        subject: None,
        message: "Hi".to_owned(),
        status,
        stage: (status == CommunicationStatus::Queued).then_some(CommunicationStage::Sending),
        due_at: Some(at(0)),
        holder: Some(id(5)),
        attempts: 1,
        vendor_message_id: None,
        reason: None,
        sent_at: sent.then(|| at(0)),
        confirmed_at: None,
        delivered_at: None,
        read_at: None,
        failed_at: None,
        meta: Meta::new(OrganizationId(id(1)), at(0)),
    }
}

fn receipt(status: ReceiptStatus, seconds: i64, reason: Option<&str>) -> Receipt {
    let reason = reason.map(|reason| Line::parse(reason).expect("a line"));
    Receipt { vendor_message_id: Line::parse("x").expect("a line"), status, reason, at: Some(at(seconds)) }
}

#[test]
fn states_only_rise_and_the_first_word_counts() {
    use CommunicationStatus as C;
    use ReceiptStatus as R;
    for (before, receipts, expected, has_reason) in [
        (C::Sent, vec![(R::Delivered, 2), (R::Sent, 1)], C::Delivered, false),
        (C::Sent, vec![(R::Read, 3), (R::Delivered, 2)], C::Read, false),
        (C::Sent, vec![(R::Failed, 1)], C::Failed, true),
        (C::Sent, vec![(R::Sent, 1), (R::Failed, 2)], C::Sent, true),
        (C::Sent, vec![(R::Failed, 2), (R::Sent, 1)], C::Sent, true),
        (C::Sent, vec![(R::Failed, 1), (R::Sent, 2)], C::Failed, true),
        (C::Sent, vec![(R::Sent, 1), (R::Failed, 1)], C::Sent, true),
        (C::Queued, vec![(R::Delivered, 2)], C::Delivered, false),
        (C::Unknown, vec![(R::Sent, 2)], C::Sent, false),
        (C::Unknown, vec![(R::Bounced, 2)], C::Failed, true),
        (C::Sent, vec![(R::Complained, 2)], C::Sent, false),
    ] {
        let after = receipts.iter().fold(message(before), |message, (status, seconds)| {
            settled(message, &receipt(*status, *seconds, None), at(10))
        });
        let shown = format!("{before} {receipts:?}");
        assert_eq!((after.status, after.reason.is_some()), (expected, has_reason), "{shown}");
        if expected != before {
            assert_eq!((after.stage, after.holder, after.due_at), (None, None, None), "{shown}");
        }
    }
    let waiting = Some(CommunicationStage::Waiting);
    for (status, stage) in [(C::Suppressed, None), (C::Queued, waiting)] {
        let never = Communication { attempts: 0, stage, ..message(status) };
        assert_eq!(settled(never.clone(), &receipt(R::Sent, 1, None), at(10)), never, "it was never sent");
    }
    // The attempt under way is written once it is over.
    for (status, stage) in [(C::Queued, Some(CommunicationStage::Sending)), (C::Unknown, None)] {
        let first = Communication { attempts: 0, stage, ..message(status) };
        let after = settled(first, &receipt(R::Delivered, 1, None), at(10));
        assert_eq!((after.status, after.attempts), (C::Delivered, 1));
    }
    let ahead = settled(message(C::Sent), &receipt(R::Delivered, 10_000_000, None), at(10));
    assert_eq!(ahead.delivered_at, Some(at(10)), "a clock that is far ahead is not believed");
}

#[test]
fn receipts_are_read_one_or_many() {
    let one = json!({"vendor_message_id": "x", "status": "delivered"});
    assert_eq!(Receipts::from_json(&one).map(|Receipts(all)| all.len()), Ok(1));
    assert_eq!(Receipts::from_json(&json!([one, one])).map(|Receipts(all)| all.len()), Ok(2));
    assert_eq!(Receipts::from_json(&json!([])).map(|Receipts(all)| all.len()), Ok(0));
    let wrong = json!([one, {"status": "LOST", "colour": 1}]);
    let errors = Receipts::from_json(&wrong).expect_err("wrong");
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["[1].vendor_message_id", "[1].status", "[1].colour"]);
    assert!(Receipts::from_json(&json!(vec![one; 1001])).is_err());
    for (status, reason, expected) in [
        (ReceiptStatus::Bounced, None, Some(SuppressionReason::HardBounce)),
        (ReceiptStatus::Failed, Some("hard_bounce"), Some(SuppressionReason::HardBounce)),
        (ReceiptStatus::Failed, Some("mailbox full"), None),
        (ReceiptStatus::Complained, None, Some(SuppressionReason::Complaint)),
        (ReceiptStatus::Delivered, None, None),
    ] {
        assert_eq!(receipt(status, 1, reason).suppresses(), expected, "{status:?} {reason:?}");
    }
}

#[test]
fn the_narrower_word_counts_but_a_refused_channel_is_refused() {
    let said = |entries: &[(&str, bool)]| {
        let consent = |granted: bool| Consent { granted, at: at(0), source: None };
        let entries = entries.iter().map(|(name, granted)| ((*name).to_owned(), consent(*granted)));
        Consents(entries.collect::<BTreeMap<_, _>>())
    };
    for (entries, topic, opt_in, opt_out) in [
        (&[][..], None, false, true),
        (&[("email", true)], None, true, true),
        (&[("email", false)], None, false, false),
        (&[("sms", false)], None, false, true),
        (&[("email", true)], Some("offers"), true, true),
        (&[("email:offers", false)], Some("offers"), false, false),
        (&[("email:offers", true)], Some("offers"), true, true),
        (&[("email:offers", true)], Some("news"), false, true),
        (&[("email", true), ("email:offers", false)], Some("offers"), false, false),
        (&[("email", true), ("email:offers", false)], None, true, true),
        (&[("email", false), ("email:offers", true)], Some("offers"), false, false),
    ] {
        let consents = said(entries);
        for (rule, expected) in [(ConsentRule::OptIn, opt_in), (ConsentRule::OptOut, opt_out)] {
            assert_eq!(allows(&consents, "email", topic, rule), expected, "{entries:?} {topic:?} {rule}");
        }
    }
}

#[test]
fn settings_are_read_whole() {
    let given = json!({
        "consent": {"email": "opt_out"}, "frequency_caps": {"sms": {"count": 2, "days": 7}},
        "webhook_url": "https://example.com/messages",
    });
    let settings = MessagingSettings::from_json(&given).expect("settings");
    assert_eq!(serde_json::to_value(&settings).expect("JSON"), given);
    let wrong = json!({
        "consent": {"email": "maybe", "pigeon": "opt_in"}, "frequency_caps": {"sms": {"count": 0, "days": 91}}, "x": 1,
    });
    let errors = MessagingSettings::from_json(&wrong).expect_err("wrong");
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["consent.email", "consent.pigeon", "frequency_caps.sms.count", "frequency_caps.sms.days", "x"]);
    assert!(MessagingSettings::from_json(&json!({"webhook_url": "file:///etc/passwd"})).is_err());
}

fn receipts() -> impl Strategy<Value = Vec<Receipt>> {
    let status = proptest::sample::select(ReceiptStatus::ALL.map(|(status, _)| status).to_vec());
    let reason = proptest::sample::select(vec![None, Some("a"), Some("b")]);
    proptest::collection::vec((status, 0_i64..6, reason), 0..8)
        .prop_map(|all| all.into_iter().map(|(status, seconds, reason)| receipt(status, seconds, reason)).collect())
}

proptest! {
    #[test]
    fn the_order_of_receipts_does_not_matter(
        (first, second) in receipts().prop_flat_map(|all| {
            let doubled: Vec<Receipt> = all.iter().chain(&all).cloned().collect();
            (Just(all), Just(doubled).prop_shuffle())
        }),
        queued in any::<bool>(),
    ) {
        let status = if queued { CommunicationStatus::Queued } else { CommunicationStatus::Sent };
        let after = |receipts: &[Receipt]| {
            receipts.iter().fold(message(status), |message, receipt| settled(message, receipt, at(10)))
        };
        let (one, other) = (after(&first), after(&second));
        prop_assert_eq!(one.status, other.status);
        prop_assert_eq!(one.reason, other.reason);
        prop_assert_eq!(
            (one.sent_at, one.confirmed_at, one.delivered_at, one.read_at, one.failed_at),
            (other.sent_at, other.confirmed_at, other.delivered_at, other.read_at, other.failed_at)
        );
    }

    #[test]
    fn names_of_messages_are_read_back(organization in any::<u128>(), reference in any::<u128>(), other in "\\PC{0,60}") {
        let id = VendorMessageId {
            channel: "mock",
            organization: OrganizationId(Uuid::from_u128(organization)),
            reference: Uuid::from_u128(reference),
        };
        let text = id.to_string();
        prop_assert_eq!(VendorMessageId::read(&text), Some(id));
        let _ = VendorMessageId::read(&other);
    }
}
