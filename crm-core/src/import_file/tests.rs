use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn read(pieces: &[&[u8]], options: FileOptions) -> Result<(FileReader, Vec<Part>), FileError> {
    let mut reader = FileReader::new(options);
    let mut parts = Vec::new();
    for piece in pieces {
        reader.push(piece, &mut parts)?;
    }
    reader.finish(&mut parts)?;
    Ok((reader, parts))
}

/// Line and cells of every record, the ragged ones without cells.
fn rows(bytes: &[u8]) -> Result<Vec<(u64, Vec<String>)>, FileError> {
    let (reader, parts) = read(&[bytes], FileOptions::default())?;
    let columns = reader.header().map_or(0, |header| header.columns.len());
    let format = reader.format().unwrap();
    let row = |record: Record<'_>| match record.content {
        Ok(Content::Cells(cells)) => (record.line, cells.into_iter().map(Into::into).collect()),
        Ok(Content::Object(json)) => (record.line, vec![json.get().to_owned()]),
        Err(_) => (record.line, Vec::new()),
    };
    Ok(parts.iter().flat_map(|part| records(part, format, columns).map(row).collect::<Vec<_>>()).collect())
}

fn utf16(text: &str, little: bool, mark: bool) -> Vec<u8> {
    let mark = if mark { "\u{feff}" } else { "" };
    let units = mark.encode_utf16().chain(text.encode_utf16());
    units.flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
}

#[rstest]
#[case("name,city\nAmélie,Paris\n".as_bytes().to_vec(), Encoding::Utf8)]
#[case("\u{feff}name,city\nAmélie,Paris\n".as_bytes().to_vec(), Encoding::Utf8)]
#[case(b"name,city\nAm\xe9lie,Paris\n".to_vec(), Encoding::Windows1252)]
#[case(utf16("name,city\nAmélie,Paris\n", true, true), Encoding::Utf16LittleEndian)]
#[case(utf16("name,city\nAmélie,Paris\n", false, true), Encoding::Utf16BigEndian)]
#[case(utf16("name,city\nAmélie,Paris\n", true, false), Encoding::Utf16LittleEndian)]
#[case(utf16("name,city\nAmélie,Paris\n", false, false), Encoding::Utf16BigEndian)]
fn an_encoding_is_found(#[case] bytes: Vec<u8>, #[case] encoding: Encoding) {
    let (reader, _) = read(&[&bytes], FileOptions::default()).unwrap();
    assert_eq!(reader.encoding(), Some(encoding));
    assert_eq!(reader.header().unwrap().columns, ["name", "city"]);
    assert_eq!(rows(&bytes).unwrap(), [(2, vec!["Amélie".to_owned(), "Paris".to_owned()])]);
}

#[test]
fn an_encoding_is_found_late() {
    let plain = "name\n".to_owned() + &"Ann\n".repeat(50_000);
    let utf8 = plain.clone() + "Amélie\n";
    let (reader, _) = read(&[utf8.as_bytes()], FileOptions::default()).unwrap();
    assert_eq!(reader.encoding(), Some(Encoding::Utf8));
    let windows = [plain.as_bytes(), b"Am\xe9lie\n"].concat();
    let (reader, parts) = read(&[&windows], FileOptions::default()).unwrap();
    assert_eq!(reader.encoding(), Some(Encoding::Windows1252));
    assert!(parts.last().unwrap().text.ends_with("Amélie\n"));
    let mixed = [utf8.as_bytes(), &plain.as_bytes()[5..], b"Am\xe9lie\n"].concat();
    let error = read(&[&mixed], FileOptions::default()).unwrap_err();
    assert_eq!(error, FileError::Encoding { line: 100_003, encoding: Encoding::Utf8 });
    let chosen = FileOptions { encoding: Some(Encoding::Windows1252), ..FileOptions::default() };
    assert!(read(&[&mixed], chosen).is_ok());
}

#[test]
fn one_wrong_byte_does_not_turn_the_file_into_another_encoding() {
    let bytes = ["name\nAmélie\nZoë\nJosé\nX".as_bytes(), b"\xff\nBob\n"].concat();
    let error = read(&[&bytes], FileOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Line 5 has bytes that are no UTF-8: save the file as UTF-8, or say which encoding it has."
    );
}

#[rstest]
#[case("a,b\n1,2\n", Format::Csv(Delimiter::COMMA))]
#[case("a;b\n1,5;2\n2,5;3\n", Format::Csv(Delimiter::SEMICOLON))]
#[case("name;note\n\"Doe, John\";\"a, b, c\"\n", Format::Csv(Delimiter::SEMICOLON))]
#[case("a\tb\n1\t2\n", Format::Csv(Delimiter::TAB))]
#[case("a|b\n1|2\n", Format::Csv(Delimiter::PIPE))]
#[case("name\nAnn\n", Format::Csv(Delimiter::COMMA))]
#[case("name,tags\nAnn,a;b\nBob,c;d\nCid,e\n", Format::Csv(Delimiter::COMMA))]
#[case("sep=;\na;b,c,d\n1;2\n", Format::Csv(Delimiter::SEMICOLON))]
#[case("{\"name\":\"Ann\"}\n{\"name\":\"Bob\"}\n", Format::Ndjson)]
#[case("\n {\"name\":\"Ann, Bob; Cid\"}", Format::Ndjson)]
#[case("{curly},b\n1,2\n", Format::Csv(Delimiter::COMMA))]
fn a_format_is_found(#[case] text: &str, #[case] format: Format) {
    assert_eq!(Format::detect(text, true), Ok(format));
    let (reader, _) = read(&[text.as_bytes()], FileOptions::default()).unwrap();
    assert_eq!(reader.format(), Some(format));
}

#[rstest]
#[case("", "The file is empty.")]
#[case("\n\r\n  \n", "The file is empty.")]
#[case("[{\"name\":\"Ann\"}]", "The file is one JSON array: write one object on each line (NDJSON) instead.")]
#[case(
    "PK\u{3}\u{4}rest",
    "The file is not a text but a workbook (XLSX) or a ZIP archive: save it as CSV (UTF-8) and send that."
)]
#[case(
    "name\nA\0nn, and much more that is not of two bytes\n",
    "Line 2 has a NUL character: the file is damaged, or is no text."
)]
#[case(
    "name\nAnn\n\"Bob\nCid\n",
    "The file ends inside a quoted cell of the record that begins in line 3: the quote is not closed."
)]
fn a_bad_file_is_refused(#[case] text: &str, #[case] message: &str) {
    assert_eq!(rows(text.as_bytes()).unwrap_err().to_string(), message);
}

#[test]
fn what_is_too_large_is_refused() {
    let wide = "c,".repeat(1_000) + "c\n1\n";
    assert_eq!(rows(wide.as_bytes()), Err(FileError::TooManyColumns { line: 1, most: 1_000 }));
    let unclosed = "name\nAnn\n\"".to_owned() + &"Bob\n".repeat(300_000);
    let error = rows(unclosed.as_bytes()).unwrap_err();
    assert_eq!(error, FileError::RecordTooLong { line: 3, most: 1_048_576, quoted: true });
    assert!(error.to_string().ends_with("probably a quote in it is not closed."));
    let long = "name\n".to_owned() + &"x".repeat(1_100_000);
    assert!(matches!(rows(long.as_bytes()), Err(FileError::RecordTooLong { line: 2, quoted: false, .. })));
}

#[test]
fn lines_are_counted_and_empty_ones_left_out() {
    let text =
        "sep=,\r\n\r\nname,note\r\n\r\nAnn,\"two\r\nlines\"\r\n,\r\n   \nBob,\"say \"\"hi\"\"\"\rCid,x,\nDan\nEve,1,2";
    let expected: [(u64, &[&str]); 5] =
        [(5, &["Ann", "two\r\nlines"]), (9, &["Bob", "say \"hi\""]), (10, &["Cid", "x"]), (11, &[]), (12, &[])];
    let expected =
        expected.map(|(line, cells)| (line, cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()));
    assert_eq!(rows(text.as_bytes()).unwrap(), expected);
    let (_, parts) = read(&[text.as_bytes()], FileOptions::default()).unwrap();
    assert_eq!((parts.len(), parts[0].first_line, parts[0].records), (1, 5, 5));
}

#[test]
fn a_record_says_why_it_cannot_be_read() {
    let text = "{\"name\":\"Ann\"}\n\n{\"name\":\n[1]\n {\"name\":\"\\\"\"} \r\n";
    let (reader, parts) = read(&[text.as_bytes()], FileOptions::default()).unwrap();
    let found: Vec<_> = records(&parts[0], reader.format().unwrap(), 0)
        .map(|record| (record.line, record.text, record.content.map(|_| ()).map_err(|error| error.to_string())))
        .collect();
    assert_eq!(found[0], (1, "{\"name\":\"Ann\"}", Ok(())));
    assert_eq!(found[1], (3, "{\"name\":", Err("is no JSON: EOF while parsing a value at character 8".to_owned())));
    assert_eq!(found[2], (4, "[1]", Err("must be a JSON object".to_owned())));
    assert_eq!((found[3].0, found[3].2.clone(), found.len(), parts[0].records), (5, Ok(()), 4, 4));
    let ragged = RecordError::Ragged { found: 5, expected: 4 };
    assert_eq!(ragged.to_string(), "has 5 cells where the header has 4 columns");
}

#[test]
fn parts_are_bounded() {
    let text = "name\n".to_owned() + &"Ann\n".repeat(1_201);
    let (_, parts) = read(&[text.as_bytes()], FileOptions::default()).unwrap();
    let shape: Vec<_> = parts.iter().map(|part| (part.number, part.first_line, part.records)).collect();
    assert_eq!(shape, [(1, 2, 500), (2, 502, 500), (3, 1002, 201)]);
    let text = "name\n".to_owned() + &("x".repeat(200 * 1024) + "\n").repeat(5);
    let (_, parts) = read(&[text.as_bytes()], FileOptions::default()).unwrap();
    assert_eq!(parts.iter().map(|part| (part.first_line, part.records)).collect::<Vec<_>>(), [(2, 2), (4, 2), (6, 1)]);
}

const SMALL: SplitLimits = SplitLimits { records: 3, bytes: 40, record_bytes: 60, columns: 6 };

/// What can be read of a file that arrives in pieces of these sizes, again and again.
fn in_pieces(
    bytes: &[u8],
    sizes: &[usize],
    options: FileOptions,
) -> (Result<(), FileError>, Vec<Part>, Option<Header>) {
    let mut reader = FileReader::new(options);
    let (mut parts, mut rest) = (Vec::new(), bytes);
    let mut sizes = sizes.iter().copied().cycle();
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
        rest = others;
        if let Err(error) = reader.push(piece, &mut parts) {
            return (Err(error), parts, reader.header().cloned());
        }
    }
    let result = reader.finish(&mut parts);
    (result, parts, reader.header().cloned())
}

fn options() -> impl Strategy<Value = FileOptions> {
    let encoding = prop::option::weighted(
        0.3,
        prop::sample::select(vec![
            Encoding::Utf8,
            Encoding::Utf16LittleEndian,
            Encoding::Utf16BigEndian,
            Encoding::Windows1252,
        ]),
    );
    (encoding, prop::option::weighted(0.3, Just(Delimiter::SEMICOLON)), any::<bool>()).prop_map(
        |(encoding, delimiter, small)| FileOptions {
            encoding,
            delimiter,
            format: None,
            limits: if small { SMALL } else { SplitLimits::default() },
        },
    )
}

fn csv_text() -> impl Strategy<Value = String> {
    "(([a-zé{] ?|\"|\"\"|,|;|\r|\n|\r\n|\t){0,12}(\n|\r\n)?){0,12}"
}

proptest! {
    #[test]
    fn no_bytes_panic_and_the_pieces_they_come_in_do_not_matter(
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..300), csv_text().prop_map(String::into_bytes)],
        sizes in prop::collection::vec(1_usize..50, 1..5),
        options in options(),
    ) {
        let whole = in_pieces(&bytes, &[usize::MAX], options);
        prop_assert_eq!(in_pieces(&bytes, &sizes, options), whole.clone());
        for part in &whole.1 {
            for format in [Format::Csv(Delimiter::COMMA), Format::Ndjson] {
                prop_assert!(records(part, format, 3).count() <= part.text.len());
            }
        }
    }

    #[test]
    fn parts_are_the_file_in_order(text in csv_text(), sizes in prop::collection::vec(1_usize..50, 1..5)) {
        let text = "name,note\n".to_owned() + &text;
        let limits = SplitLimits { record_bytes: 1_000, columns: 100, ..SMALL };
        let options =
            FileOptions { delimiter: Some(Delimiter::COMMA), encoding: Some(Encoding::Utf8), limits, ..FileOptions::default() };
        let (result, parts, header) = in_pieces(text.as_bytes(), &sizes, options);
        prop_assume!(result.is_ok());
        prop_assert_eq!(header.unwrap().columns, vec!["name", "note"]);
        let whole = Part { number: 1, first_line: 2, records: 0, text: text["name,note\n".len()..].to_owned() };
        let format = Format::Csv(Delimiter::COMMA);
        let lines = |part: &Part| -> Vec<(u64, String)> {
            records(part, format, 2).map(|record| (record.line, record.text.to_owned())).collect()
        };
        prop_assert_eq!(parts.iter().flat_map(lines).collect::<Vec<_>>(), lines(&whole));
        let mut rest = whole.text.as_str();
        for (part, number) in parts.iter().zip(1..) {
            prop_assert_eq!((part.number, lines(part).len()), (number, part.records));
            prop_assert!(part.records <= limits.records);
            prop_assert!(part.text.len() <= limits.bytes + 20 || part.records == 1);
            let (before, after) = rest.split_once(part.text.as_str()).unwrap();
            prop_assert!(before.chars().all(|character| " \t\r\n,\"".contains(character)));
            rest = after;
        }
    }

    #[test]
    fn another_reader_finds_the_same_cells(text in csv_text()) {
        let mut theirs = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let theirs: Vec<Vec<String>> =
            theirs.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
        let part = Part { number: 1, first_line: 1, records: 0, text };
        let ours = records(&part, Format::Csv(Delimiter::COMMA), usize::MAX).map(|record| {
            cells(record.text, Delimiter::COMMA).into_iter().map(String::from).collect::<Vec<_>>()
        });
        let theirs: Vec<_> =
            theirs.into_iter().filter(|cells| cells.iter().any(|cell| !cell.trim_matches([' ', '\t']).is_empty())).collect();
        prop_assert_eq!(ours.collect::<Vec<_>>(), theirs);
    }

    #[test]
    fn what_another_writer_wrote_is_read(
        table in (2_usize..5).prop_flat_map(|width| {
            prop::collection::vec(prop::collection::vec("x[ -~é,;\"\r\n\t]{0,8}", width..=width), 1..8)
        }),
        delimiter in prop::sample::select(vec![Delimiter::COMMA, Delimiter::SEMICOLON, Delimiter::TAB, Delimiter::PIPE]),
        windows: bool,
    ) {
        let terminator = if windows { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer =
            csv::WriterBuilder::new().delimiter(delimiter.byte()).terminator(terminator).from_writer(Vec::new());
        let header: Vec<String> = (0..table[0].len()).map(|column| format!("column {column}")).collect();
        writer.write_record(&header).unwrap();
        table.iter().for_each(|row| writer.write_record(row).unwrap());
        let bytes = writer.into_inner().unwrap();
        let options = FileOptions { delimiter: Some(delimiter), limits: SMALL_BUT_LONG, ..FileOptions::default() };
        let (reader, parts) = read(&[&bytes], options).unwrap();
        prop_assert_eq!(&reader.header().unwrap().columns, &header);
        let mut found = Vec::new();
        for part in &parts {
            for record in records(part, reader.format().unwrap(), header.len()) {
                let Ok(Content::Cells(cells)) = record.content else { panic!("{record:?}") };
                found.push(cells.into_iter().map(String::from).collect::<Vec<_>>());
            }
        }
        prop_assert_eq!(found, table);
    }
}

const SMALL_BUT_LONG: SplitLimits = SplitLimits { records: 3, bytes: 40, record_bytes: 1_000, columns: 6 };
