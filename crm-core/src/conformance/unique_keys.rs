//! Keys that no two records share.

use super::{
    CheckResult, Failure, Opener,
    collections::{KEYED, TASKS, keyed, task},
    failure::{ensure_equal, ensure_error},
    fixture::{OURS, THEIRS, all_rows, insert, open, scope},
    generate::id,
    writes::{keyed_row, task_row, update},
};
use crate::store::{Assignment, Change, Outcome, Row, Scope, StoreError, Value};

fn with_mail(seed: u128, mail: &str) -> Row {
    let mut row = keyed_row(OURS, seed);
    row.0[keyed::MAIL] = Value::Text(mail.to_owned());
    row
}

fn with_serial(seed: u128, series: &str, serial: Option<i64>) -> Row {
    let mut row = keyed_row(OURS, seed);
    row.0[keyed::SERIES] = Value::Text(series.to_owned());
    row.0[keyed::SERIAL] = serial.map_or(Value::Null, Value::Integer);
    row
}

/// Unique keys refuse a second record, ignore missing values, are each organization's own (the installation's are
/// shared by all), and are free again once their record is removed or has another value.
///
/// # Errors
/// [`Failure`] where the store differs.
pub async fn unique_keys(opener: &impl Opener) -> CheckResult {
    let store = open(opener).await?;
    insert(&store, OURS, &KEYED, vec![with_mail(1, "a@x"), keyed_row(OURS, 2), keyed_row(OURS, 3)]).await?;

    // Taken: on insert, on update, on update by filter, and the error names the key.
    let mail_taken = async |change: Change, what: &str| -> CheckResult {
        match store.commit(scope(OURS), vec![change]).await {
            Err(StoreError::Duplicate { collection, key, fields }) => {
                let expected = (KEYED.name, "mail".to_owned(), vec!["mail".to_owned()]);
                ensure_equal!((collection, key, fields), expected, "what is taken, {what}");
                Ok(())
            }
            other => Err(Failure::new(format!("{what}: a taken key gives {other:?}"))),
        }
    };
    let same = || vec![Assignment::Set(keyed::MAIL, Value::Text("a@x".to_owned()))];
    mail_taken(Change::Insert { collection: &KEYED, rows: vec![with_mail(4, "a@x")] }, "insert").await?;
    let both = vec![with_mail(5, "both@x"), with_mail(6, "both@x")];
    mail_taken(Change::Insert { collection: &KEYED, rows: both }, "insert of two alike").await?;
    mail_taken(update(2, same()), "update").await?;
    let by_filter = Change::UpdateWhere { collection: &KEYED, filter: crate::store::Filter::ALL, assignments: same() };
    mail_taken(by_filter, "update by filter").await?;
    ensure_equal!(all_rows(&store, scope(OURS), &KEYED).await?.len(), 3, "rows after refusals");

    // The id is a key as well.
    ensure_error!(
        insert(&store, OURS, &KEYED, vec![keyed_row(OURS, 1)]).await,
        StoreError::Duplicate { ref key, .. } if key == "id",
        "insert with an id that is there"
    );

    // Exactly, by code point: other case, accents and spaces are other keys.
    insert(&store, OURS, &KEYED, vec![with_mail(10, "A@x"), with_mail(11, "á@x"), with_mail(12, "a@x ")]).await?;

    // Setting a row's own value again is no clash.
    store.commit(scope(OURS), vec![update(1, same())]).await?;

    // Of several fields: all of them, and one missing frees the rest.
    insert(&store, OURS, &KEYED, vec![with_serial(20, "s", Some(1)), with_serial(21, "s", Some(2))]).await?;
    insert(&store, OURS, &KEYED, vec![with_serial(22, "t", Some(1))]).await?;
    insert(&store, OURS, &KEYED, vec![with_serial(23, "s", None), with_serial(24, "s", None)]).await?;
    ensure_error!(
        insert(&store, OURS, &KEYED, vec![with_serial(25, "s", Some(2))]).await,
        StoreError::Duplicate { ref key, ref fields, .. } if key == "series_serial" && fields == &["series", "serial"],
        "a key of two fields"
    );

    // Another organization has its own keys.
    let mut theirs = with_mail(30, "a@x");
    theirs.0[crate::store::head::ORGANIZATION_ID] = Value::Id(THEIRS);
    insert(&store, THEIRS, &KEYED, vec![theirs]).await?;

    // Freed by removal and by change, within one commit too.
    let swap = vec![
        Change::Delete { collection: &KEYED, id: id(1), expected_version: None },
        update(2, same()),
        update(2, vec![Assignment::Set(keyed::MAIL, Value::Null)]),
        Change::Insert { collection: &KEYED, rows: vec![with_mail(1, "a@x")] },
    ];
    let outcomes = store.commit(scope(OURS), swap).await?;
    let expected = vec![
        Outcome::Touched(1),
        Outcome::Updated { version: 2 },
        Outcome::Updated { version: 3 },
        Outcome::Touched(1),
    ];
    ensure_equal!(outcomes, expected, "a key that changes hands within one commit");

    // The installation's keys are shared by all organizations.
    let token = |organization, seed| {
        let mut row = task_row(organization, seed);
        row.0[task::TOKEN] = Value::Text("token".to_owned());
        row
    };
    insert(&store, OURS, &TASKS, vec![token(OURS, 1), task_row(OURS, 2)]).await?;
    for (scope, row) in [(scope(THEIRS), token(THEIRS, 3)), (Scope::Installation, token(THEIRS, 4))] {
        ensure_error!(
            store.commit(scope, vec![Change::Insert { collection: &TASKS, rows: vec![row] }]).await,
            StoreError::Duplicate { ref key, .. } if key == "token",
            "a key of the installation that another organization has taken"
        );
    }
    ensure_error!(
        insert(&store, THEIRS, &TASKS, vec![task_row(THEIRS, 1)]).await,
        StoreError::Duplicate { ref key, .. } if key == "id",
        "an id of the installation that another organization has taken"
    );
    Ok(())
}
