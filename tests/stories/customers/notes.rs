//! Notes about a customer.

use serde_json::{Value, json};

use crate::support::{App, on_every_store};

on_every_store! {
    /// Staff write notes, correct their own, and everybody sees what they said before.
    async fn notes(app: App) {
        let shop = app.organization("Shop").await;
        let team = shop.team("North").await;
        let (ann, bob) = (shop.member("Agent", Some(&team)).await, shop.member("Agent", Some(&team)).await);
        let kim = ann.post("/customers", json!({"name": "Kim"})).await.created();
        let path = format!("{kim}/notes");
        let first = ann.post(&path, json!({"text": " Called.\nWants an offer. "})).await.created();
        assert_eq!((&first["text"], &first["author_id"]), (&json!("Called.\nWants an offer."), &json!(ann.id())));
        assert_eq!(first.path, format!("{kim}/notes/{}", first.id()));
        let second = bob.post(&path, json!({"text": "Sent the offer."})).await.created();
        let list = bob.get(&path).await.ok();
        let texts: Vec<&Value> = list["data"].as_array().expect("notes").iter().map(|note| &note["text"]).collect();
        assert_eq!(texts, ["Sent the offer.", "Called.\nWants an offer."], "newest first");

        bob.put(&first, json!({"text": "Mine now."})).await.refused(403, "FORBIDDEN");
        bob.delete(&first).await.refused(403, "FORBIDDEN");
        let edited = ann.put(&first, json!({"text": "Called twice."})).if_match(&first).await.found(&first);
        assert_eq!((&edited["edit_count"], &edited["edits"][0]["text"]), (&json!(1), &json!("Called.\nWants an offer.")));
        ann.put(&first, json!({"text": "Called thrice."})).if_match(&first).await.refused(412, "VERSION_CONFLICT");
        let edited = shop.admin.put(&first, json!({"text": "Called."})).await.found(&first);
        assert_eq!(edited["edits"][1]["edited_by"], json!(shop.admin.id()));
        assert_eq!(bob.get(&first).await.ok(), edited.body);
        ann.delete(&first).await.no_content();
        ann.get(&first).await.refused(404, "NOT_FOUND");
        bob.get(&path).await.lists([&second]);

        ann.post(&path, json!({"text": ""})).await.invalid(&["text"]);
        ann.post(&path, json!({"text": "x".repeat(5001), "author_id": 1, "y": 1})).await.invalid(&["text", "author_id", "y"]);
        let other = ann.post("/customers", json!({"name": "Lee"})).await.created();
        ann.get(format!("{other}/notes/{}", second.id())).await.refused(404, "NOT_FOUND");
    }
}
