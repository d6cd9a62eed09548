//! `fieldbook attach`

use std::path::{Path, PathBuf};

use clap::Args;
use fieldbook_vault::Attached;

use super::{json, render};
use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::error::Failure;
use crate::global::Global;
use crate::network;
use crate::sanitise::line;
use crate::ui::size;

/// Add a file to a report. Its original bytes are hashed (BLAKE3 and SHA-256) and kept encrypted.
///
/// The file itself stays where it is: remove it yourself when it must not be found.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// The report: the beginning of its id
    id: String,
    /// The file
    file: PathBuf,
    /// Its media type [default: told from its name]
    #[arg(long, value_name = "TYPE/SUBTYPE")]
    media_type: Option<String>,
}

pub fn run(args: AttachArgs, global: &Global) -> Result<(), Failure> {
    let name = line(&args.file.to_string_lossy());
    let path = std::fs::canonicalize(&args.file).map_err(Failure::input(&name))?;
    if !path.is_file() {
        return Err(Failure::usage("input-unreadable", format!("{name} is not a file")));
    }
    let media_type = args.media_type.or_else(|| Some(media_type(&path).to_owned()));
    let mut agent = Agent::open(global)?;
    let attached: Attached = agent.call(&Request::Attach { report: args.id, path, media_type })?;
    network::nudge(&global.vault);
    global.ui.emit(json(&attached)?)?;
    global.ui.say(format_args!(
        "Added {} ({}) to {}.\nsha256 {}",
        line(&attached.attachment.name),
        size(attached.attachment.size),
        render::short(&attached.report.id),
        line(&attached.attachment.sha256)
    ))
}

/// The media type that a name suggests (IANA's registry).
fn media_type(path: &Path) -> &'static str {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    match extension.as_deref().unwrap_or_default() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "gif" => "image/gif",
        "tif" | "tiff" => "image/tiff",
        "mp4" | "m4v" => "video/mp4",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        "wav" => "audio/wav",
        "ogg" | "opus" => "audio/ogg",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_type_whatever_its_case() {
        assert_eq!(media_type(Path::new("a/IMG_1.JPG")), "image/jpeg");
        assert_eq!(media_type(Path::new("voice.opus")), "audio/ogg");
        assert_eq!(media_type(Path::new("README")), "application/octet-stream");
    }
}
