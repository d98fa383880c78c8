package org.edgekd.demo

import java.util.Locale

/** A fraction in percent. */
fun percent(fraction: Double, locale: Locale): String = String.format(locale, "%.1f %%", 100 * fraction)

/** A probability in percent; never "0.0 %" or "100.0 %", which a calibrated model does not claim. */
fun probability(value: Double, locale: Locale): String = when {
    value > 0.9995 -> "> " + percent(0.999, locale)
    value < 0.0005 -> "< " + percent(0.001, locale)
    else -> percent(value, locale)
}

/** A duration of milliseconds with three digits that count. */
fun millis(value: Double, locale: Locale): String {
    val digits = when {
        value >= 99.95 -> 0
        value >= 9.995 -> 1
        value >= 0.9995 -> 2
        else -> 3
    }
    return String.format(locale, "%.${digits}f ms", value)
}
