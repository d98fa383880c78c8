"""What the headers of listed DICOM files add: the patient, subgroups, burned-in text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekd.config.data import Data
from edgekd.data.columns import check_subgroup
from edgekd.data.dicom import DicomRef, read_header
from edgekd.data.groups import hasher
from edgekd.data.source import Item, Listing
from edgekd.errors import DataError, did_you_mean

# What may tell subgroups apart without telling patients apart.
SUBGROUPS = (
    *("PatientSex", "Modality", "Manufacturer", "ManufacturerModelName", "BodyPartExamined", "ViewPosition"),
    *("Laterality", "InstitutionName", "PatientAge", "SeriesDescription", "StationName", "EthnicGroup"),
)


def with_headers(listing: Listing, config: Data) -> Listing:
    """Group the DICOM files of a listing by PatientID, and look for burned-in text.

    A column or a pattern for the patient goes before PatientID, which is hashed at once.

    Raises:
        DataError: BurnedInAnnotation is YES somewhere, unless ``allow_burned_in`` is set; an unknown subgroup.
    """
    known = {name for item in listing.items for name in item.columns}
    wanted = [name for name in dict.fromkeys(config.subgroup_columns) if name not in known]
    if not any(isinstance(item.picture, DicomRef) for item in listing.items):
        if wanted:
            raise DataError(f'data.subgroup_columns: {listing.where} has no columns, "{wanted[0]}" for one')
        return listing
    for name in wanted:
        if name not in SUBGROUPS:
            raise DataError(
                f'data.subgroup_columns: "{name}" is no column, and no DICOM attribute that tells subgroups apart'
                f"{did_you_mean(name, SUBGROUPS)}"
            )
    by_patient = not config.patient_pattern and not any(item.group for item in listing.items)
    hashed, items, burned, silent, nobody = hasher(), list[Item](), 0, 0, 0
    for item in listing.items:
        header = _header(item, ["PatientID", "BurnedInAnnotation", *wanted])
        if header:
            burned += header["BurnedInAnnotation"].upper() == "YES"
            silent += header["BurnedInAnnotation"].upper() not in ("YES", "NO")
            nobody += by_patient and not header["PatientID"]
        group = hashed(header.get("PatientID", "")) if by_patient else item.group
        extra = {name: header.get(name) or "unknown" for name in wanted}
        items.append(replace(item, group=group, columns={**item.columns, **extra}))
    for name in wanted:
        check_subgroup(name, [item.columns[name] for item in items])
    if burned and not config.allow_burned_in:
        raise DataError(
            f"{listing.where}: {burned} DICOM files say that text is burned into their pixels (BurnedInAnnotation = "
            "YES), which may name patients; take them out, or --set data.allow_burned_in=true"
        )
    window = f"the window {list(config.dicom_window)}" if config.dicom_window else "each file's own window"
    notes = (*listing.notes, f"DICOM grey values shown through {window} (data.dicom_window)")
    warnings = list(listing.warnings)
    if burned:
        warnings.append(f"{burned} DICOM files say that text is burned into their pixels; it may name patients")
    if silent:
        warnings.append(
            f"{silent} DICOM files do not say that no text is burned into their pixels, which may name patients"
        )
    if nobody:
        warnings.append(f"{nobody} DICOM files have no PatientID; each counts as a patient of its own")
    return replace(listing, items=items, warnings=tuple(warnings), notes=notes)


def _header(item: Item, keywords: Sequence[str]) -> dict[str, str]:
    """Empty for what is no DICOM file, or cannot be read: prepare names that among the unreadable files."""
    if not isinstance(item.picture, DicomRef):
        return {}
    try:
        return read_header(item.picture.path, item.picture.name, keywords)
    except DataError:
        return {}
