use super::*;
use crate::{crm::collections, store::FieldKind};

#[test]
fn every_kind_of_record_says_what_it_holds_of_customers() {
    for collection in collections() {
        let said: Vec<&Holding> =
            holdings().iter().filter(|holding| holding.collection.name == collection.name).collect();
        let [holding] = said.as_slice() else { panic!("{} says it {} times", collection.name, said.len()) };
        assert!(!holding.why.is_empty(), "{}", collection.name);
    }
    assert_eq!(holdings().len(), collections().len());
}

#[test]
fn what_names_a_customer_says_so() {
    for Holding { collection, says, .. } in holdings() {
        let named = collection.field("customer_id").is_some();
        match says {
            Says::Nothing => assert!(!named, "{} names a customer", collection.name),
            Says::Own => {}
            Says::Of { customer, merge, erase } => {
                let field = collection.field(customer).unwrap_or_else(|| panic!("{}.{customer}", collection.name));
                assert_eq!(field.kind, FieldKind::Id, "{}.{customer}", collection.name);
                let indexed = collection
                    .indexes
                    .iter()
                    .any(|index| index.fields.first().is_some_and(|first| first.name == *customer));
                assert!(indexed, "{}.{customer} has no index", collection.name);
                if let Some(Moves::Unless(key)) = merge {
                    assert!(collection.field(key).is_some(), "{}.{key}", collection.name);
                }
                if let Erases::Blanks(fields) | Erases::BlanksOrGoes(fields) = erase {
                    assert_eq!(holding::blanks(collection, fields).count(), fields.len(), "{}", collection.name);
                }
            }
        }
    }
}
