// CSS does not apply to plots on canvas: give them the page's colours, and in print the light ones.
let dress
{
  const dark = matchMedia("screen and (prefers-color-scheme: dark)")
  const figures = () => Bokeh.documents.flatMap((doc) => [...doc._all_models.values()]).filter((model) => model.type === "Figure")
  const paint = () => {
    const style = getComputedStyle(document.documentElement)
    const [paper, ink, faint, line] = ["paper", "ink", "faint", "line"].map((name) => style.getPropertyValue(`--${name}`).trim())
    for (const plot of figures()) {
      plot.setv({background_fill_color: paper, border_fill_color: paper, outline_line_color: line, border_line_color: paper})
      for (const part of [...plot.left, ...plot.right, ...plot.above, ...plot.below, ...plot.center]) {
        if (part.type.endsWith("Axis")) part.setv({major_label_text_color: faint, axis_label_text_color: ink, axis_line_color: faint, major_tick_line_color: faint})
        if (part.type === "Grid") part.setv({grid_line_color: part.dimension === 1 ? line : null})
        if (part.type === "Legend") part.setv({label_text_color: ink, background_fill_color: paper, border_line_color: line})
      }
      // Black lines would be invisible on a dark background.
      const [from, to] = dark.matches ? ["#000000", "#ffffff"] : ["#ffffff", "#000000"]
      for (const {glyph} of plot.renderers)
        for (const property of ["line_color", "fill_color", "text_color"])
          if ((glyph[property]?.value ?? glyph[property]) === from) glyph.setv({[property]: to})
    }
  }
  // On narrow screens, put the legend below the plot instead of beside it.
  const narrow = matchMedia("(max-width: 600px)")
  const place = () => {
    for (const plot of figures()) {
      const [from, to] = narrow.matches ? ["right", "below"] : ["below", "right"]
      const legends = plot[from].filter((part) => part.type === "Legend")
      if (legends.length === 0) continue
      for (const legend of legends) {
        const longest = Math.max(...legend.items.map((item) => String(item.label?.value ?? "").length))
        const fit = Math.max(1, Math.floor(300 / (40 + 7 * longest)))  // columns, by the pixels that labels take
        legend.setv({ncols: narrow.matches ? fit : "auto"})
      }
      plot.setv({[from]: plot[from].filter((part) => !legends.includes(part)), [to]: [...plot[to], ...legends]})
    }
  }
  dress = () => { paint(); place() }
  dark.addEventListener("change", paint)
  narrow.addEventListener("change", place)
  const begin = () => globalThis.Bokeh?.documents[0]?.roots().length ? dress() : setTimeout(begin, 50)
  begin()
}
