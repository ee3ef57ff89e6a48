use std::{
    fs::File,
    io::{self, BufWriter, Read, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use crm_core::{
    Crm,
    access::Principal,
    background,
    contact::Email,
    customer::import::{ImportOptions, ImportState, ImportView, Upload},
};
use crm_http::{logging, settings::Settings};
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{Failure, compose, organization, progress, say};

/// So much of a file is read at once.
const PIECE: usize = 256 * 1024;
/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What is imported, and how.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The file, CSV or NDJSON; `-` for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The organization, by its id or name; needed where there are several.
    #[arg(long, value_name = "ID OR NAME")]
    organization: Option<String>,
    /// On behalf of this member of staff, by e-mail address, with that person's rights and sight.
    #[arg(long = "as", value_name = "E-MAIL", conflicts_with = "organization")]
    acting: Option<String>,
    /// Which column goes into which field, in JSON, such as {"Mail":"email","Notes":null}.
    #[arg(long, value_name = "JSON")]
    mapping: Option<String>,
    /// The name of a saved mapping; with --mapping, the name under which it is saved.
    #[arg(long, value_name = "NAME")]
    mapping_name: Option<String>,
    /// Tell what would come of it, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// create, update or upsert; upsert where there is an --upsert-key.
    #[arg(long)]
    mode: Option<String>,
    /// How a row finds its customer: email, phone, id or custom.<key>.
    #[arg(long, value_name = "FIELD")]
    upsert_key: Option<String>,
    /// What new customers get where the file says nothing, in JSON.
    #[arg(long, value_name = "JSON")]
    defaults: Option<String>,
    /// The order of dates, such as dd/mm/yyyy.
    #[arg(long, value_name = "FORMAT")]
    date_format: Option<String>,
    /// . or ,
    #[arg(long, value_name = "CHARACTER")]
    decimal_separator: Option<String>,
    /// What stands between cells, such as ; or tab; found out where it is left out.
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<String>,
    /// utf-8, utf-16le, utf-16be or windows-1252; found out where it is left out.
    #[arg(long)]
    encoding: Option<String>,
    /// Empty cells empty fields.
    #[arg(long)]
    clear_empty: bool,
    /// Leave out rows whose customer is there already, instead of refusing them.
    #[arg(long)]
    skip_duplicates: bool,
    /// Let phones be shared.
    #[arg(long)]
    allow_duplicate_phone: bool,
    /// Go on with an import of this file that was interrupted, instead of beginning one.
    #[arg(long)]
    resume: bool,
}

impl Options {
    /// As the form of the route would have them.
    fn read(&self) -> Result<ImportOptions, Failure> {
        let flag = |on: bool| on.then(|| "true".to_owned());
        let named = [
            ("mapping", self.mapping.clone()),
            ("mapping_name", self.mapping_name.clone()),
            ("dry_run", flag(self.dry_run)),
            ("mode", self.mode.clone()),
            ("upsert_key", self.upsert_key.clone()),
            ("defaults", self.defaults.clone()),
            ("date_format", self.date_format.clone()),
            ("decimal_separator", self.decimal_separator.clone()),
            ("delimiter", self.delimiter.clone()),
            ("encoding", self.encoding.clone()),
            ("clear_empty", flag(self.clear_empty)),
            ("skip_duplicates", flag(self.skip_duplicates)),
            ("allow_duplicate_phone", flag(self.allow_duplicate_phone)),
        ];
        let mut options = ImportOptions::default();
        for (name, value) in named {
            if let Some(value) = value {
                options.set(name, &value)?;
            }
        }
        options.name_file(&self.file_name());
        Ok(options)
    }

    fn file_name(&self) -> String {
        self.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// Imports customers; fails where a row was refused.
pub(super) fn run(settings: &Settings, options: &Options) -> Result<(), Failure> {
    logging::start(&settings.log_level, settings.log_format)?;
    let read = options.read()?;
    compose::runtime(settings)?.block_on(async {
        let crm = compose::crm(settings, compose::store(settings).await?)?;
        let imported = import(&crm, options, read).await;
        crm.store().close().await;
        imported
    })
}

async fn import(crm: &Crm, options: &Options, read: ImportOptions) -> Result<(), Failure> {
    let by = match &options.acting {
        Some(email) => crm.accounts().acting_as(&Email::parse(email)?).await?,
        None => Principal::system(organization::find(crm, options.organization.as_deref()).await?),
    };
    let begun = if options.resume {
        let found = crm.imports().unfinished(&by, &options.file_name()).await?;
        found.ok_or_else(|| format!("no import of {} was interrupted", options.file.display()))?
    } else {
        let upload = crm.imports().begin(&by, &read).await?;
        let view = send(upload, &options.file, read).await?;
        describe(&view)?;
        view
    };
    let stop = CancellationToken::new();
    let background = tokio::spawn(background::run(crm.clone(), stop.clone().cancelled_owned()));
    let ended = watch(crm, &by, begun).await;
    stop.cancel();
    let _ = background.await;
    let ended = ended?;
    conclude(crm, &by, &ended, options).await
}

/// Reads the file into the import. Interrupted, it leaves nothing of it.
async fn send(mut upload: Upload, path: &Path, options: ImportOptions) -> Result<ImportView, Failure> {
    let unreadable = |error: &io::Error| -> Failure { format!("{} cannot be read: {error}", path.display()).into() };
    let (mut file, length): (Box<dyn Read + Send>, u64) = if path.as_os_str() == "-" {
        (Box::new(io::stdin()), 0)
    } else {
        let file = File::open(path).map_err(|error| unreadable(&error))?;
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        (Box::new(file), length)
    };
    let bar = progress::Bar::new();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut done: u64 = 0;
    loop {
        let reading = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; PIECE];
            let read = file.read(&mut bytes);
            (file, bytes, read)
        });
        let (returned, bytes, read) = tokio::select! {
            read = reading => read?,
            _ = &mut interrupted => {
                bar.finish();
                upload.abandon().await;
                return Err("interrupted: nothing was imported".into());
            }
        };
        file = returned;
        let read = match read {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                bar.finish();
                upload.abandon().await;
                return Err(unreadable(&error));
            }
        };
        if read == 0 {
            break;
        }
        let pushed = upload.push(bytes.get(..read).unwrap_or_default()).await;
        if pushed.is_err() {
            bar.finish();
        }
        pushed?;
        done += read as u64;
        bar.show("bytes read", done, length.max(done));
    }
    bar.finish();
    Ok(upload.finish(options).await?)
}

/// Says what is read into what.
fn describe(view: &ImportView) -> Result<(), Failure> {
    say(format_args!("Import {} of {} rows:", view.import.id, view.import.rows_total))?;
    for (column, field) in &view.mapping.0 {
        say(format_args!("  {column} -> {}", field.as_deref().unwrap_or("(ignored)")))?;
    }
    Ok(())
}

/// Shows how far the import is until it has ended. An interruption cancels it.
async fn watch(crm: &Crm, by: &Principal, mut view: ImportView) -> Result<ImportView, Failure> {
    let bar = progress::Bar::new();
    let mut cancelled = false;
    while matches!(view.import.state, ImportState::Queued | ImportState::Running) {
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        let rate = view.rows_per_second.map(|rate| format!(", {rate:.0} a second")).unwrap_or_default();
        let left = view.seconds_left.map(|left| format!(", {left} s left")).unwrap_or_default();
        bar.show(&format!("rows{rate}{left}"), count(view.import.rows_read), count(view.import.rows_total));
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            interrupted = tokio::signal::ctrl_c(), if !cancelled => {
                interrupted?;
                cancelled = true;
                // It may just have ended.
                let _ = crm.imports().cancel(by, view.import.id).await;
            }
        }
        view = match crm.imports().get(by, view.import.id).await {
            Ok(view) => view,
            // The database may come back.
            Err(crm_core::Error::Unavailable { .. }) => view,
            Err(error) => return Err(error.into()),
        };
    }
    bar.finish();
    Ok(view)
}

/// Says what came of it, and writes the refused rows beside the file.
async fn conclude(crm: &Crm, by: &Principal, view: &ImportView, options: &Options) -> Result<(), Failure> {
    let import = &view.import;
    let (would, dry) = if import.dry_run { (" would be", " (nothing was written)") } else { ("", "") };
    say(format_args!(
        "{} of {} rows read: {}{would} created, {}{would} updated, {} unchanged, {} skipped, {} refused{dry}.",
        import.rows_read,
        import.rows_total,
        import.created,
        import.updated,
        import.unchanged,
        import.skipped,
        import.failed,
    ))?;
    let mut errors = None;
    if import.failed > 0 {
        let mut name = options.file.file_name().filter(|name| *name != "-").unwrap_or("import".as_ref()).to_owned();
        name.push(if import.format == "ndjson" { ".errors.ndjson" } else { ".errors.csv" });
        let path = options.file.with_file_name(name);
        let mut out = BufWriter::new(File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?);
        let mut pieces = std::pin::pin!(crm.imports().errors(by, import.id).await?.pieces());
        while let Some(piece) = pieces.next().await {
            out.write_all(&piece?)?;
        }
        out.flush()?;
        errors = Some(path);
    }
    match (import.state, errors) {
        (ImportState::Failed, _) => {
            let reason = import.error.as_ref().map_or("for an unknown reason", |error| error.message.as_str());
            Err(format!("the import failed: {reason}").into())
        }
        (ImportState::Cancelled, _) => Err("cancelled: what was written stays, and can be taken back".into()),
        (_, Some(path)) => Err(format!("{} rows were refused: {} says why", import.failed, path.display()).into()),
        _ => Ok(()),
    }
}
