use super::limit_of;

#[test]
fn only_a_limit_can_be_asked() {
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(limit_of(&[]).unwrap(), 20);
    assert_eq!(limit_of(&pairs(&[("limit", "100")])).unwrap(), 100);
    for wrong in [[("limit", "0")], [("limit", "101")], [("limit", "x")], [("status", "open")]] {
        assert!(limit_of(&pairs(&wrong)).is_err(), "{wrong:?}");
    }
}
