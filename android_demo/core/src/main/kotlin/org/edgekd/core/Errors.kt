package org.edgekd.core

/**
 * Every error that the core raises on purpose. A message names the thing and says what to do, in one line.
 *
 * ```
 * EdgekdException
 * |-- BundleException   the asset is not the one that edgekd wrote
 * |-- ModelException    the model is not what the manifest says, or cannot run
 * `-- ImageException    a picture that cannot be classified
 * ```
 */
sealed class EdgekdException(message: String) : Exception(message)

sealed class BundleException(message: String) : EdgekdException(message)

class MissingFile(name: String) : BundleException("$name is missing; lay the bundle in again")

class ExtraFile(name: String) : BundleException("$name is not named by the manifest; remove it")

class DigestMismatch(name: String) : BundleException("$name is not the file that was bundled (SHA-256); lay it in again")

class UnreadableFile(name: String, reason: String) :
    BundleException("$name cannot be read: $reason; lay the bundle in again")

class BrokenManifest(reason: String) : BundleException("the bundle cannot be read: $reason; build it again")

class NewerSchema(found: Int, known: Int) :
    BundleException("the bundle has manifest version $found, this app reads $known; update the app")

sealed class ModelException(message: String) : EdgekdException(message)

class UnusableModel(reason: String) : ModelException("the model cannot be opened: $reason; build the bundle again")

class WrongTensor(which: String, wanted: String, found: String) :
    ModelException("the manifest says that the model's $which is $wanted, the model says $found; build the bundle again")

class LabelCount(labels: Int, outputs: Int) :
    ModelException("$labels labels for a model that gives $outputs values; build the bundle again")

class SelfTestFailed(failures: Int, checks: Int) :
    ModelException("$failures of $checks checks of the self-test failed; this device must not classify with this model")

sealed class ImageException(message: String) : EdgekdException(message)

class UnreadableImage(reason: String) : ImageException("the picture cannot be read: $reason")

class UnsupportedImage(what: String) : ImageException("$what cannot be classified here; save it as 8-bit PNG or JPEG")

class EmptyImage(width: Int, height: Int) : ImageException("the picture is empty: $width x $height pixels")

class ImageTooLarge(width: Int, height: Int) :
    ImageException("the picture is too large: $width x $height pixels; scale it down")
