"""The Android app: compiled against the framework's classes, packed with Debian's tools, its resources looked at."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

DEMO = Path(__file__).resolve().parents[1] / "android_demo"
MAIN = DEMO / "app" / "src" / "main"
ASSETS = MAIN / "assets"
RES = MAIN / "res"
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")
ANDROID = "{http://schemas.android.com/apk/res/android}"
DISCLAIMER = "Demonstration only. Not a medical device."


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def need(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if not FRAMEWORK.is_file():
        missing.append("android-framework-res")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


# The Maven build.


@pytest.mark.slow
def test_the_app_compiles_without_warnings_and_its_own_tests_pass() -> None:
    need("mvn", "javac", "aapt2")
    # core's own tests are run elsewhere; here it is only compiled.
    only_app = ("-Dtest=org.edgekd.demo.*Test", "-Dsurefire.failIfNoSpecifiedTests=false")
    folder = DEMO / "app/target/surefire-reports"
    shutil.rmtree(folder, ignore_errors=True)  # those of tests that are gone
    run("mvn", "-q", "-B", "-f", DEMO / "pom.xml", "-pl", "app", "-am", *only_app, "test")
    reports = [ElementTree.parse(path).getroot() for path in folder.glob("TEST-*.xml")]
    assert {report.get("name", "").rpartition(".")[2] for report in reports} == {
        path.stem for path in (DEMO / "app/src/test").rglob("*Test.kt")
    }
    for report in reports:
        assert int(report.get("tests", 0)) > 0
        assert [report.get(kind) for kind in ("skipped", "failures", "errors")] == ["0", "0", "0"]
    classes = DEMO / "app/target/test-classes/org/edgekd/demo"
    assert (classes / "SelfTestDeviceTest.class").is_file()
    assert (classes / "BenchmarkDeviceTest.class").is_file()


# The package.


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Assets laid out like a bundle; the model is all zeros, which any compression would shrink."""
    assets = tmp_path_factory.mktemp("assets")
    golden = assets / "edgekd" / "golden"
    golden.mkdir(parents=True)
    (assets / "edgekd" / "model.tflite").write_bytes(bytes(100_001))
    (assets / "edgekd" / "labels.txt").write_text("a\nb\n")
    (assets / "edgekd" / "edgekd_manifest.json").write_text("{}\n" * 1000)
    (golden / "input_00.bin").write_bytes(bytes(3 * 32 * 32))
    return assets


@pytest.fixture(scope="session")
def apk(stand_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("aapt2", "zipalign", "apksigner", "keytool")
    path = tmp_path_factory.mktemp("apk") / "app.apk"
    run("sh", DEMO / "package.sh", "apk", stand_in, path)
    return path


def data_offset(apk: Path, entry: zipfile.ZipInfo) -> int:
    """Where the content begins: behind a local header of 30 bytes, the name, and padding (APPNOTE.TXT, 4.3.7)."""
    with apk.open("rb") as file:
        file.seek(entry.header_offset + 26)
        lengths = file.read(4)
    return entry.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")


def assert_packed(apk: Path, assets: Path) -> None:
    with zipfile.ZipFile(apk) as archive:
        packed = {name.removeprefix("assets/") for name in archive.namelist() if name.startswith("assets/")}
        assert packed == {path.relative_to(assets).as_posix() for path in assets.rglob("*") if path.is_file()}
        for name in packed:
            assert archive.read(f"assets/{name}") == (assets / name).read_bytes(), name
        model = archive.getinfo("assets/edgekd/model.tflite")
        assert model.compress_type == zipfile.ZIP_STORED
        assert data_offset(apk, model) % 4 == 0
        bytes_there = apk.read_bytes()[data_offset(apk, model) :][: model.file_size]
        assert bytes_there == (assets / "edgekd/model.tflite").read_bytes()  # so the phone can map it


def test_the_model_is_stored_aligned_and_unchanged(apk: Path, stand_in: Path) -> None:
    assert_packed(apk, stand_in)
    with zipfile.ZipFile(apk) as archive:  # what need not be mapped is deflated, so the model's storage is no accident
        assert archive.getinfo("assets/edgekd/edgekd_manifest.json").compress_type == zipfile.ZIP_DEFLATED


def test_the_bundle_that_the_app_ships_with_is_packed_the_same_way(tmp_path: Path) -> None:
    need("aapt2", "zipalign", "apksigner", "keytool")
    if not (ASSETS / "edgekd").is_dir():
        pytest.skip("no bundle is laid in: edgekd bundle RUN --android-dir android_demo")
    run("sh", DEMO / "package.sh", "apk", ASSETS, tmp_path / "app.apk")
    assert_packed(tmp_path / "app.apk", ASSETS)


def test_the_package_is_aligned_and_signed_as_android_checks_it(apk: Path) -> None:
    run("zipalign", "-c", "-p", "4", apk)
    verified = run("apksigner", "verify", "--verbose", "--min-sdk-version", "24", apk)
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in verified


def test_a_changed_package_is_no_longer_signed(apk: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(apk) as archive:
        offset = data_offset(apk, archive.getinfo("assets/edgekd/model.tflite"))
    content = bytearray(apk.read_bytes())
    content[offset] ^= 1
    (tmp_path / "changed.apk").write_bytes(content)
    done = subprocess.run(["apksigner", "verify", tmp_path / "changed.apk"], capture_output=True, check=False)
    assert done.returncode != 0


def test_the_package_asks_for_no_permission_and_names_the_versions_of_the_build(apk: Path) -> None:
    badging = run("aapt2", "dump", "badging", apk)
    assert "uses-permission" not in badging
    assert "package: name='org.edgekd.demo' versionCode='1' versionName='0.1.0'" in badging
    assert "sdkVersion:'24'" in badging
    assert "targetSdkVersion:'35'" in badging
    assert "launchable-activity: name='org.edgekd.demo.ClassifyActivity'" in badging


def test_phone_tablet_day_and_night_are_in_the_package(apk: Path) -> None:
    resources = run("aapt2", "dump", "resources", apk)
    for name, variants in {"layout/classify": ["()", "(sw600dp"], "color/background": ["()", "(night"]}.items():
        entry = resources.split(f" {name}\n", 1)[1].split("resource 0x", 1)[0]
        for variant in variants:
            assert variant in entry, f"{name} {variant}"


# The manifest and the resources, as they are written.


def documents(folder: str) -> Iterator[tuple[str, ElementTree.Element]]:
    for path in sorted(RES.glob(f"{folder}*/*.xml")):
        yield f"{path.parent.name}/{path.name}", ElementTree.parse(path).getroot()


def test_only_the_launcher_is_open_to_other_apps_and_nothing_is_backed_up() -> None:
    manifest = ElementTree.parse(MAIN / "AndroidManifest.xml").getroot()
    application = manifest.find("application")
    assert application is not None
    assert application.get(f"{ANDROID}allowBackup") == "false"
    components = [part for part in application if part.tag in ("activity", "service", "receiver", "provider")]
    exported = {part.get(f"{ANDROID}name"): part.get(f"{ANDROID}exported") for part in components}
    assert [name for name, value in exported.items() if value != "false"] == [".ClassifyActivity"]
    assert manifest.findall("uses-permission") == []
    for name in exported:
        assert (MAIN / f"kotlin/org/edgekd/demo/{(name or '').removeprefix('.')}.kt").is_file(), name


def test_every_screen_carries_the_disclaimer() -> None:
    strings = {node.get("name"): node.text for node in ElementTree.parse(RES / "values/strings.xml").getroot()}
    assert strings["disclaimer"] == DISCLAIMER
    screen = ElementTree.parse(RES / "layout/screen.xml").getroot()
    first = screen[0]  # outside of what scrolls
    assert first.get(f"{ANDROID}text") == "@string/disclaimer"
    assert first.get(f"{ANDROID}visibility") is None
    manifest = ElementTree.parse(MAIN / "AndroidManifest.xml").getroot()
    for activity in manifest.iter("activity"):
        name = activity.get(f"{ANDROID}name", "").removeprefix(".")
        source = (MAIN / f"kotlin/org/edgekd/demo/{name}.kt").read_text(encoding="utf-8")
        assert re.search(rf"class {name} : ScreenActivity\(", source), name
        assert "setContentView" not in source


def test_every_picture_and_choice_has_a_name_for_talkback() -> None:
    named = ("contentDescription", "text", "importantForAccessibility")
    parts = ("ImageView", "ImageButton", "Button", "RadioButton", "RadioGroup", "ProgressBar", "EditText")
    seen = 0
    for where, root in documents("layout"):
        for node in root.iter():
            if node.tag in parts:
                seen += 1
                assert any(node.get(ANDROID + name) for name in named), f"{where}: {node.tag}"
    assert seen > 10


def test_what_changes_by_itself_is_read_out() -> None:
    live = {
        node.get(f"{ANDROID}id")
        for _, root in documents("layout")
        for node in root.iter()
        if node.get(f"{ANDROID}accessibilityLiveRegion") == "polite"
    }
    assert live == {"@+id/gate", "@+id/failures", "@+id/status", "@+id/classes", "@+id/result"}


def test_no_text_stands_outside_of_the_string_resources() -> None:
    for where, root in documents("layout"):
        for node in root.iter():
            for name in ("text", "contentDescription", "hint"):
                value = node.get(ANDROID + name)
                assert value is None or value.startswith("@string/"), f"{where}: {value}"


def colours(folder: str) -> dict[str, str]:
    root = ElementTree.parse(RES / folder / "colors.xml").getroot()
    return {node.get("name", ""): node.text or "" for node in root.iter("color")}


def contrast(one: str, other: str) -> float:
    """WCAG 2.1's contrast ratio of two colours ``#AARRGGBB``."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (3, 5, 7)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("night", [False, True])
def test_text_is_legible_in_light_and_dark(night: bool) -> None:
    palette = colours("values") | (colours("values-night") if night else {})
    assert contrast("#FF000000", "#FFFFFFFF") == pytest.approx(21)  # by definition
    pairs = [(name, "background") for name in ("text", "text_minor", "warning", "accent")] + [("banner_text", "banner")]
    for text, ground in pairs:
        assert contrast(palette[text], palette[ground]) >= 4.5, text  # level AA


# The Gradle project, which cannot be run without Google's repository.


def catalogue() -> dict[str, dict[str, dict[str, object]]]:
    with (DEMO / "gradle/libs.versions.toml").open("rb") as file:
        return tomllib.load(file)


def test_the_build_scripts_name_only_what_the_catalogue_has() -> None:
    has = catalogue()
    aliases = {"libs." + name.replace("-", ".") for name in has["libraries"]}
    aliases |= {"libs.plugins." + name.replace("-", ".") for name in has["plugins"]}
    used: set[str] = set()
    for path in [DEMO / "build.gradle.kts", *DEMO.glob("*/build.gradle.kts")]:
        used |= set(re.findall(r"\blibs\.[a-z0-9.]+", path.read_text(encoding="utf-8")))
    assert used == aliases
    for row in [*has["libraries"].values(), *has["plugins"].values()]:
        version = row.get("version")
        assert version is None or (isinstance(version, dict) and version["ref"] in has["versions"])


def test_both_builds_compile_with_the_same_versions() -> None:
    pom = ElementTree.parse(DEMO / "pom.xml").getroot()
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    properties = pom.find("m:properties", space)
    assert properties is not None
    maven = {node.tag.partition("}")[2]: node.text for node in properties}
    gradle = catalogue()["versions"]
    assert gradle["kotlin"] == maven["kotlin.version"]
    assert gradle["serialization"] == maven["serialization.version"]
    assert gradle["junit5"] == maven["junit.version"]


def test_the_gradle_build_stores_the_model_too() -> None:
    script = (DEMO / "app/build.gradle.kts").read_text(encoding="utf-8")
    assert 'noCompress += "tflite"' in script
    assert re.search(r"minSdk = 24\b", script)


def test_the_app_itself_uses_no_androidx_and_nothing_of_java_that_android_lacks() -> None:
    sources = [path for part in ("core", "app") for path in (DEMO / part / "src/main").rglob("*.kt")]
    assert len(sources) > 20
    # java.nio.file is there from Android 8 on only; the unit tests too are compiled against Android's own Java.
    absent = re.compile(r"\b(androidx\.|java\.awt\.|javax\.imageio\.|java\.nio\.file\.)")
    sources += (DEMO / "app/src/test").rglob("*.kt")
    assert [path.name for path in sources if absent.search(path.read_text(encoding="utf-8"))] == []
