// The live view: fetches the changed sections every second and updates them in place. Zoom, hidden lines, the
// order of tables and unfolded parts are kept.
{
  const content = document.getElementById("content")
  const nav = document.querySelector("nav ul")
  const drawn = new Map()  // from a section's id to the views of its plot
  let version = -1

  const markup = (html) => {
    const template = document.createElement("template")
    template.innerHTML = html
    return template.content.firstElementChild
  }

  // The renderers of a plot, with their labels in the legend; `kind` is name, type of glyph and label.
  const parts = (plot) => {
    const legend = [...plot.right, ...plot.below, ...plot.center].find((part) => part.type === "Legend")
    const label = (renderer) => legend?.items.find((item) => item.renderers.includes(renderer))?.label.value
    return plot.renderers.map((renderer) => ({renderer, label: label(renderer), kind: [renderer.name, renderer.glyph.type, label(renderer)].join()}))
  }

  // Update the data of an existing plot if it has the same parts; otherwise replace it.
  const draw = async (key, figure, item) => {
    const before = drawn.get(key)
    let hidden = new Set()
    if (before) {
      const [{model}] = before
      const fresh = model.document.constructor.from_json(item.doc).get_model_by_id(item.root_id)
      const [old, next] = [parts(model), parts(fresh)]
      if (old.map((part) => part.kind).join() === next.map((part) => part.kind).join()) {
        old.forEach(({renderer}, place) => { renderer.data_source.data = next[place].renderer.data_source.data })
        return
      }
      hidden = new Set(old.filter(({renderer}) => !renderer.visible).map((part) => part.label))
      before.clear()
      Bokeh.documents.splice(Bokeh.documents.indexOf(model.document), 1)
    }
    figure.replaceChildren(document.createElement("div"))
    const views = await Bokeh.embed.embed_item(item, figure.firstChild)
    drawn.set(key, views)
    const [{model}] = views
    for (const {renderer, label} of parts(model)) renderer.visible = !hidden.has(label)
  }

  const place = async ({key, html, item}) => {
    const fresh = markup(html)
    const old = document.getElementById(key)
    const [before, after] = [old, fresh].map((section) => [...(section?.querySelectorAll("table") ?? [])])
    const fits = old && before.length === after.length && !old.querySelector("figure") === !item
    if (!old) content.append(fresh)
    else if (!fits) old.replaceWith(fresh)
    else {
      const heads = [old, fresh].map((section) => section.querySelector(".head"))
      if (heads[0].outerHTML !== heads[1].outerHTML) heads[0].replaceWith(heads[1])
      before.forEach((table, number) => {
        table.tBodies[0].replaceWith(after[number].tBodies[0])
        const sorted = table.querySelector("th[aria-sort]")
        if (sorted) sortBy(sorted, sorted.ariaSort)
      })
    }
    if (item) await draw(key, document.getElementById(key).querySelector("figure"), item)
  }

  const arrange = (keys) => {
    for (const section of [...content.children]) if (!keys.includes(section.id)) section.remove()
    const sections = keys.map((key) => document.getElementById(key)).filter((section) => section)
    if (sections.some((section, place) => content.children[place] !== section)) content.append(...sections)
    const links = sections.map((section) => {
      const link = document.createElement("a")
      link.href = `#${encodeURIComponent(section.id)}`
      link.textContent = section.ariaLabel
      return link
    })
    if (links.map((link) => link.outerHTML).join() === [...nav.querySelectorAll("a")].map((link) => link.outerHTML).join()) return
    nav.replaceChildren(...links.map((link) => {
      const entry = document.createElement("li")
      entry.append(link)
      return entry
    }))
  }

  const notice = document.getElementById("notice")
  const tell = (text) => {
    notice.textContent = text
    notice.hidden = false
  }
  const update = async () => {
    try {
      const answer = await fetch(`changes?since=${version}`)
      if (!answer.ok) throw new Error(answer.statusText)
      const changes = await answer.json()
      notice.hidden = true
      for (const part of changes.parts) await place(part).catch((error) => tell(`${part.key} cannot be shown: ${error.message}.`))
      if (changes.parts.length) {
        arrange(changes.keys)
        dress()
      }
      version = changes.version
    } catch (error) {
      tell(`No answer from senet-lab watch (${error.message}); this page keeps trying.`)
    }
    setTimeout(update, 1000)
  }
  update()
}
