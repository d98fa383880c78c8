package org.edgekd.core

/** A class and the model's probability for it. */
data class Ranked(val label: String, val prob: Float)

/**
 * What the model says of a picture: classes from the most to the least probable.
 *
 * [findings] are null where the first of them is the answer. Where labels are independent of each other, they are those
 * above the bundle's threshold, all of which are in [ranked]; there may be none.
 */
data class Answer(val ranked: List<Ranked>, val lowConfidence: Boolean, val findings: List<Ranked>? = null)

/** The [count] most probable classes; of equal ones the first, as numpy's argmax. */
fun topK(probs: FloatArray, labels: List<String>, count: Int): List<Ranked> =
    labels.zip(probs.asList()) { label, prob -> Ranked(label, prob) }.sortedByDescending { it.prob }.take(count)

/** Index of the largest value; of equal ones the first. */
internal fun argmax(values: FloatArray): Int = values.indices.maxByOrNull { values[it] } ?: -1

/** A bundle's model, opened, whose tensors are those of the manifest. Closing it closes the engine. */
class Classifier private constructor(
    val bundle: Bundle,
    private val engine: InferenceEngine,
    val settings: EngineSettings,
    /** How long the engine took to open, in milliseconds. */
    val initMs: Double,
) : AutoCloseable by engine {

    /** Probabilities for an input tensor, in the order of the labels. */
    fun probs(tensor: ByteArray): FloatArray = engine.run(tensor)

    companion object {
        /** Throws [UnusableModel], [WrongTensor] or [LabelCount]. */
        fun open(
            bundle: Bundle,
            settings: EngineSettings,
            clock: () -> Long = System::nanoTime,
            engines: EngineFactory,
        ): Classifier {
            val start = clock()
            val engine = engines(bundle.model, settings)
            val initMs = (clock() - start) / 1e6
            try {
                check(bundle.manifest, engine)
            } catch (error: ModelException) {
                engine.close()
                throw error
            }
            return Classifier(bundle, engine, settings, initMs)
        }

        private fun check(manifest: Manifest, engine: InferenceEngine) {
            if (!engine.input.matches(manifest.input)) throw WrongTensor("input", "${manifest.input}", "${engine.input}")
            val outputs = engine.output.shape.lastOrNull() ?: 0
            if (outputs != manifest.labels.size) throw LabelCount(manifest.labels.size, outputs)
            val probs = TensorSpec("", listOf(1, outputs), "float32")
            if (!engine.output.matches(probs)) throw WrongTensor("output", "$probs", "${engine.output}")
        }
    }
}

/** A classifier that passed its self-test on this device; only [SelfTestReport.admit] makes one. */
class VerifiedClassifier internal constructor(private val classifier: Classifier) : AutoCloseable by classifier {
    val bundle: Bundle get() = classifier.bundle
    val settings: EngineSettings get() = classifier.settings
    val initMs: Double get() = classifier.initMs

    /** Classify an upright picture. */
    fun classify(picture: Picture, count: Int = 3): Answer = classify(preprocess(picture), count)

    /** Classify what [preprocess] gave. */
    fun classify(tensor: ByteArray, count: Int = 3): Answer {
        val manifest = bundle.manifest
        val all = topK(probs(tensor), manifest.labels, manifest.labels.size)
        val findings = manifest.decision?.let { decision -> all.filter { it.prob > decision.threshold } }
        val ranked = all.take(maxOf(count, findings.orEmpty().size))
        return Answer(ranked, all.first().prob < manifest.minConfidence, findings)
    }

    fun preprocess(picture: Picture): ByteArray = preprocess(picture, bundle.manifest.preprocessing)

    fun probs(tensor: ByteArray): FloatArray = classifier.probs(tensor)
}
