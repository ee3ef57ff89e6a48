use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use crm_core::{
    access::Principal,
    customer::{CustomerExport, ExportFormat},
};
use crm_http::{logging, settings::Settings};
use futures::StreamExt as _;

use super::{Failure, compose, organization, progress};

/// What is exported, and where to.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The organization, by its id or name; needed where there are several.
    #[arg(long, value_name = "ID OR NAME")]
    organization: Option<String>,
    /// csv, xlsx or ndjson; where it is left out, what the name of the file ends with, and else csv.
    #[arg(long)]
    format: Option<ExportFormat>,
    /// Only customers who match this rule, in JSON.
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Only customers with these words.
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    /// The order, such as -spend,name; oldest first where it is left out.
    #[arg(long, value_name = "FIELDS")]
    sort: Option<String>,
    /// Only these fields, as columns in this order, such as name,email,custom.city.
    #[arg(long, value_name = "FIELDS")]
    fields: Option<String>,
    /// The time zone of instants; the organization's where it is left out.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// What stands between the cells of CSV.
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<String>,
    /// Begin CSV with a byte order mark, by which Excel knows UTF-8.
    #[arg(long)]
    bom: bool,
    /// Export the bin instead.
    #[arg(long)]
    deleted: bool,
    /// Write to this file, which is there only when it is whole; to standard output where it is left out.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Options {
    /// As the query string of the route would have them.
    fn pairs(&self) -> Vec<(String, String)> {
        let flag = |on: bool| on.then(|| "true".to_owned());
        let named = [
            ("filter", self.filter.clone()),
            ("search", self.search.clone()),
            ("sort", self.sort.clone()),
            ("fields", self.fields.clone()),
            ("time_zone", self.time_zone.clone()),
            ("delimiter", self.delimiter.clone()),
            ("bom", flag(self.bom)),
            ("deleted", flag(self.deleted)),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    fn format(&self) -> ExportFormat {
        let ending = self.output.as_deref().and_then(Path::extension).and_then(|ending| ending.to_str());
        self.format.or_else(|| ending?.to_ascii_lowercase().parse().ok()).unwrap_or_default()
    }
}

/// Exports customers.
pub(super) fn run(settings: &Settings, options: &Options) -> Result<(), Failure> {
    logging::start(&settings.log_level, settings.log_format)?;
    compose::runtime(settings)?.block_on(async {
        let crm = compose::crm(settings, compose::store(settings).await?)?;
        let exported = async {
            let by = Principal::system(organization::find(&crm, options.organization.as_deref()).await?);
            let export = crm.customers().export(&by, &options.pairs(), options.format()).await?;
            match &options.output {
                Some(file) => to_file(export, file).await,
                None => write(export, BufWriter::new(io::stdout())).await.map(|_| ()),
            }
        };
        let exported = tokio::select! {
            exported = exported => exported,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                Err("interrupted: there is no whole file".into())
            }
        };
        crm.store().close().await;
        exported
    })
}

/// A file of the name is there only when it is whole.
async fn to_file(export: CustomerExport, file: &Path) -> Result<(), Failure> {
    let mut name = file.file_name().ok_or("the output is not the name of a file")?.to_owned();
    name.push(".part");
    let part = Part(file.with_file_name(name));
    let out = File::create(&part.0).map_err(|error| format!("{} cannot be written: {error}", part.0.display()))?;
    let out = write(export, BufWriter::new(out)).await?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&part.0, file)?;
    Ok(())
}

/// A file that goes again where it does not become whole.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // After it has got its name there is none of this one.
        let _ = fs::remove_file(&self.0);
    }
}

async fn write<W: Write>(export: CustomerExport, mut out: W) -> Result<W, Failure> {
    let bar = progress::Bar::new();
    let all = export.count().await?;
    let mut blocks = export.start().await?;
    let written = async {
        while let Some(block) = blocks.next().await {
            out.write_all(&block?)?;
            bar.show("customers", blocks.rows(), all.max(blocks.rows()));
        }
        out.flush()?;
        Ok(())
    };
    let written: Result<(), Failure> = written.await;
    bar.finish();
    written.map(|()| out)
}
