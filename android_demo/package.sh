#!/bin/sh
# Checks the app's manifest, resources and assets with Debian's packages aapt, zipalign, apksigner and
# android-framework-res, where Google's build tools cannot be had:
#
#   package.sh resources DIR         writes the class R, as Java, below DIR
#   package.sh apk ASSETS OUT.apk    packs, aligns, and signs with a key that is thrown away
#
# The APK holds no code, so it proves how the bundle is packed and cannot run. Android Studio builds the app.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
main=$here/app/src/main
framework=${ANDROID_FRAMEWORK:-/usr/share/android-framework-res/framework-res.apk}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

setting() { # of app/build.gradle.kts, without quotes
  sed -n "s/^ *$1 = \"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" "$here/app/build.gradle.kts" | head -n 1
}

link() {
  # The package's name is the build's business in today's projects, the manifest's in aapt2.
  sed "s/<manifest /<manifest package=\"$(setting namespace)\" /" "$main/AndroidManifest.xml" \
    > "$work/AndroidManifest.xml"
  aapt2 compile --dir "$main/res" -o "$work/res.zip"
  aapt2 link -I "$framework" --manifest "$work/AndroidManifest.xml" \
    --min-sdk-version "$(setting minSdk)" --target-sdk-version "$(setting targetSdk)" \
    --version-code "$(setting versionCode)" --version-name "$(setting versionName)" \
    "$@" "$work/res.zip"
}

case ${1-} in
  resources)
    mkdir -p "$2"
    link -o "$work/unsigned.apk" --java "$2"
    ;;
  apk)
    link -o "$work/unsigned.apk" -A "$2" -0 .tflite
    zipalign -f -p 4 "$work/unsigned.apk" "$work/aligned.apk"
    keytool -genkeypair -keystore "$work/key.jks" -storepass throwaway -keypass throwaway -alias key \
      -keyalg RSA -keysize 2048 -validity 1 -dname CN=throwaway 2> "$work/keytool.log" ||
      { cat "$work/keytool.log" >&2; exit 1; }
    apksigner sign --ks "$work/key.jks" --ks-pass pass:throwaway --min-sdk-version "$(setting minSdk)" \
      --out "$3" "$work/aligned.apk"
    rm -f "$3.idsig"
    ;;
  *)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
